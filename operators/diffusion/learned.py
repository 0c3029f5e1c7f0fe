"""Learnt vectors for words, as files hold them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from operators.diffusion.vocabulary import Embedding
from operators.models.adapters import AdapterFiles

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion

_PER_ENCODER = (("clip_l", "text_encoders_0"), ("clip_g", "text_encoders_1"))
_UNNAMED = "emb_params"


def embedding(files: AdapterFiles, path: Path, family: StableDiffusion, word: str | None = None) -> Embedding:
    """The vectors that a file holds.

    There is ``{word: vectors}``, as diffusers writes it; ``{"string_to_param": {"*": vectors}, "name": word}``,
    as Automatic1111 writes it; ``{"emb_params": vectors}``; a tensor by itself; and ``{"clip_l": ..., "clip_g": ...}``
    for models with two text encoders.

    Args:
        files: that the file is of.
        path: of the file.
        family: the model whose text encoders are to read them.
        word: that they stand for; the file's own unless given, and the file's name where it has none.

    Raises:
        ModelError: the file holds something else, or vectors of another width.
    """
    held = files.read(path)
    own, tensors = _vectors(held, len(family.text_encoders))
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        keys = ", ".join(map(str, held)) if isinstance(held, dict) else type(held).__name__
        raise files.refuse(f"holds no vectors for {len(family.text_encoders)} text encoder(s): {path.name} has {keys}")
    vectors = tuple(tensor.detach().reshape(-1, tensor.shape[-1]).float() for tensor in tensors)
    widths = [encoder.get_input_embeddings().weight.shape[1] for _, encoder in family.text_encoders]
    if [each.shape[1] for each in vectors] != widths or len({len(each) for each in vectors}) > 1:
        shapes = " and ".join(str(tuple(each.shape)) for each in vectors)
        raise files.refuse(f"does not fit the model: vectors are {shapes}, and the text encoders' {widths} wide")
    return Embedding(word or own or path.stem, vectors)


def _vectors(held: Any, encoders: int) -> tuple[str | None, list[Any]]:
    """The file's own word, and vectors for each text encoder; none where the file is of no known form."""
    if isinstance(held, Tensor):
        return None, [held] * (encoders == 1)
    if not isinstance(held, dict):
        return None, []
    if "string_to_param" in held:
        return held.get("name"), [held["string_to_param"].get("*")] * (encoders == 1)
    if encoders > 1:
        found = [next((held[name] for name in names if name in held), None) for names in _PER_ENCODER]
        return None, found
    if len(held) == 1:
        ((word, vectors),) = held.items()
        return None if word == _UNNAMED else word, [vectors]
    return None, []
