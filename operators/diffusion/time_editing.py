"""Editing what a model takes for granted, in closed form (TIME, Orgad et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from operators.errors import ModelError

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion

_AUGMENTED = ("A photo of ", "An image of ", "A picture of ")


def edited_weights(
    family: StableDiffusion, edits: Sequence[tuple[str, str]], regularisation: float, keys: bool, augment: bool
) -> list[tuple[Tensor, Tensor]]:
    """The projections of cross-attention, each with what it becomes.

    A projection ``W`` becomes the minimum over ``W'`` of ``sum |W' c - W c*|^2 + lambda |W' - W|^2`` (eq. 3 and 4),
    where ``c`` are the embeddings of the source's tokens and ``c*`` those of the same tokens in the destination:
    ``W' = W (lambda I + sum c* c^T) (lambda I + sum c c^T)^-1`` (eq. 5 and 6). Whatever is to the right of ``W`` is the
    same in all layers, and computed once, in double precision.

    Args:
        family: of the network, which stays as it is.
        edits: texts from and to.
        regularisation: lambda.
        keys: edit those that make keys, and not only those that make values.
        augment: edit what is said of photos, images and pictures of it too.

    Raises:
        ModelError: a destination does not have the words of its source, or a text has too many.
    """
    pairs = [pair for edit in edits for pair in (edit, *(_augmented(edit) if augment else ()))]
    tokens = [_tokens(family, *pair) for pair in pairs]
    source, destination = (torch.cat(side).double().cpu() for side in zip(*tokens, strict=True))
    identity = regularisation * torch.eye(source.shape[1], dtype=torch.float64)
    moved = torch.linalg.solve(identity + source.T @ source, identity + destination.T @ source, left=False)
    return [(weight, (weight.data.double().cpu() @ moved).to(weight)) for weight in projections(family.unet, keys)]


def projections(unet: Any, keys: bool = True) -> list[Tensor]:
    """The weights of a network that make values, and keys, of text embeddings."""
    layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
    return [layer.to_v.weight for layer in layers] + [layer.to_k.weight for layer in layers if keys]


def aligned(source: Sequence[int], destination: Sequence[int], length: int) -> list[int]:
    """For each of a text's ``length`` tokens, which one of another text stands for it.

    Args:
        source: the text's tokens, from start to end, without padding.
        destination: the same of the other text; all of the source's are among them, in their order.
        length: with padding.

    Raises:
        ValueError: the other text lacks one.
    """
    places, after = [], 0
    for token in source:
        places.append(list(destination).index(token, after))
        after = places[-1] + 1
    padding = [*range(after, length), *[length - 1] * length]
    return (places + padding)[:length]


def _tokens(family: StableDiffusion, source: str, destination: str) -> tuple[Tensor, Tensor]:
    """Embeddings ``(tokens, width)`` of a text, and of the tokens that stand for them in another one."""
    tokenizer, _ = family.text_encoders[0]
    length = tokenizer.model_max_length
    ids = [tokenizer(text, truncation=False, verbose=False).input_ids for text in (source, destination)]
    if max(map(len, ids)) > length:
        raise ModelError(f"the edit to {destination!r} is longer than the text encoder's {length} tokens")
    # Where one text has "a", the other may need "an".
    an, a = (tokenizer(article, add_special_tokens=False).input_ids for article in ("an", "a"))
    same = dict(zip(an, a, strict=False))
    first, second = ([same.get(token, token) for token in side] for side in ids)
    try:
        places = aligned(first, second, length)
    except ValueError:
        raise ModelError(
            f"the edit to {destination!r} must have all words of {source!r} in their order, with others between"
        ) from None
    with torch.no_grad():
        said, meant = family.encode_texts([source, destination]).hidden.float()
    return said, meant[places]


def _augmented(edit: tuple[str, str]) -> list[tuple[str, str]]:
    source, destination = (f"a{text[1:]}" if text[:1] == "A" else text for text in edit)
    return [(start + source, start + destination) for start in _AUGMENTED]
