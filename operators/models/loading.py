"""From a model's name to a folder on this machine, and what its weights are, to the bit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.errors import ModelError
from operators.models.ref import ModelRef, Origin
from operators.models.staging import cache_folder, staged

if TYPE_CHECKING:
    import torch

_BUILTIN = Path(__file__).parent / "builtin"
_WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d+-of-\d+)?\.safetensors")
_PICKLES = re.compile(r"(diffusion_pytorch_model|pytorch_model)(-\d+-of-\d+)?\.bin")
_BESIDE_WEIGHTS = ("*.json", "*.txt", "*.model", "*.jinja")


class ModelFiles:
    """A model's folder on this machine.

    Args:
        ref: where the model comes from.
        parts: subfolders whose weights will be loaded, ``"."`` for the folder itself; nothing else is downloaded.
        allow_pickle: take weights that are pickles where there is no safetensors; reading one can run any code.
        cache: where models from an fsspec URI are kept; beside the hub's unless given.
        optional: subfolders whose weights will be loaded where they are there.

    Attributes:
        folder: where the model is.
        weights: the files that are loaded.
        use_safetensors: what to tell ``from_pretrained``: True, or None for either format.

    Raises:
        ModelError: there is no such model, it can't be reached, or it has only weights that are pickles.
    """

    def __init__(
        self,
        ref: ModelRef,
        parts: Sequence[str] = (".",),
        allow_pickle: bool = False,
        cache: Path | None = None,
        optional: Sequence[str] = (),
    ) -> None:
        self.ref = ref
        self.folder = _located(ref, [*parts, *optional], allow_pickle, cache)
        self.use_safetensors = None if allow_pickle else True
        there = [part for part in optional if (self.folder / part).is_dir()]
        self.weights = [file for part in (*parts, *there) for file in self._weights(part, allow_pickle)]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the contents of the weights that are loaded, in the order of their paths, in hexadecimal."""
        return sha256_of(self.weights)

    def json(self, name: str) -> dict[str, Any]:
        """What one of the model's JSON files holds.

        Raises:
            ModelError: there is no such file, or it is not JSON.
        """
        try:
            found: dict[str, Any] = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            raise ModelError(f"model {str(self.ref)!r} is not of the kind that this step takes: no {name}") from None
        except ValueError as error:
            raise ModelError(f"model {str(self.ref)!r}: {name} is not JSON: {error}") from None
        return found

    def part(self, name: str) -> Path:
        """A subfolder of the model.

        Raises:
            ModelError: the model has none of this name.
        """
        if not (self.folder / name).is_dir():
            raise self.refuse(f"has no folder {name}/")
        return self.folder / name

    def refuse(self, reason: str) -> ModelError:
        """The error that says why this model won't do."""
        return ModelError(f"model {str(self.ref)!r} {reason}")

    def _weights(self, part: str, allow_pickle: bool) -> list[Path]:
        present = sorted((self.folder / part).glob("*")) if (self.folder / part).is_dir() else []
        safe = [path for path in present if _WEIGHTS.fullmatch(path.name)]
        pickles = [path for path in present if _PICKLES.fullmatch(path.name)]
        if safe or (pickles and allow_pickle):
            return safe or pickles
        where = "" if part == "." else f" in {part}/"
        if pickles:
            raise self.refuse(only_a_pickle(f"{pickles[0].name}{where}"))
        raise self.refuse(f"has no model.safetensors or diffusion_pytorch_model.safetensors{where}")


def sha256_of(files: Iterable[Path]) -> str:
    """SHA-256 over the contents of files, in the order of their paths, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def only_a_pickle(name: str) -> str:
    """What to say of a model that has no weights but these."""
    return (
        f"has only {name}, a pickle, and reading one can run any code; "
        "convert it to safetensors, or accept the risk with `allow_pickle: true`"
    )


def pick_device(name: str | None = None) -> torch.device:
    """The device called ``name``, or else the first accelerator, or else the CPU."""
    import torch

    if name is not None:
        return torch.device(name)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def diffusion_files(
    ref: ModelRef, allow_pickle: bool = False, parts: Sequence[str] = ("text_encoder", "unet", "vae")
) -> ModelFiles:
    """Files of a Stable Diffusion model on this machine; arguments and errors as for :class:`ModelFiles`."""
    return ModelFiles(ref, parts, allow_pickle, optional=("text_encoder_2",))


def load_network(kind: Any, files: ModelFiles, device: torch.device, part: str = ".", **options: Any) -> Any:
    """A network of a class of diffusers or transformers, for inference.

    Args:
        kind: the class.
        files: of the model that it is of.
        device: where it runs.
        part: subfolder that it is in.
        options: of ``from_pretrained``.

    Raises:
        ModelError: the model has no such subfolder.
    """
    with without_progress_bars():
        network = kind.from_pretrained(files.part(part), use_safetensors=files.use_safetensors, **options)
    return network.to(device).eval().requires_grad_(False)


def load_processor(files: ModelFiles, part: str = ".", **options: Any) -> Any:
    """What makes of pictures what a network of transformers takes.

    Args:
        files: of the model.
        part: subfolder that it is in.
        options: of ``from_pretrained``.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoImageProcessor

    files.json(str(Path(part) / "preprocessor_config.json"))
    processors: Any = AutoImageProcessor
    return processors.from_pretrained(files.part(part), **options)


def check_architecture(files: ModelFiles, ending: str, lacks: str, part: str = ".") -> None:
    """Refuse a network of transformers that is for something else.

    Args:
        files: of the model that it is of.
        ending: of the names of classes that will do.
        lacks: what others don't do, as the message says it.
        part: subfolder that it is in.

    Raises:
        ModelError: it is, or there is none.
    """
    config = files.json(str(Path(part) / "config.json"))
    kind = ", ".join(config.get("architectures") or ["network of no known kind"])
    if not kind.endswith(ending):
        raise files.refuse(f"is a {kind}, which {lacks}")


class Precision(StrEnum):
    """What networks compute in."""

    AUTO = "auto"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


def pick_dtype(device: torch.device, precision: Precision = Precision.AUTO) -> torch.dtype:
    """The precision asked for; ``auto`` is half precision on an accelerator, single on the CPU."""
    import torch

    if precision is Precision.AUTO:
        precision = Precision.FLOAT32 if device.type == "cpu" else Precision.FLOAT16
    chosen: torch.dtype = getattr(torch, precision.value)
    return chosen


def commit(ref: ModelRef) -> str | None:
    """The commit of a hub model or adapter that is on this machine; None of what comes from elsewhere."""
    from huggingface_hub import errors, snapshot_download

    if ref.origin is not Origin.HUB:
        return None
    repository = "/".join(ref.location.split("/")[:2])
    try:
        return Path(snapshot_download(repository, revision=ref.revision, local_files_only=True)).name
    except errors.LocalEntryNotFoundError:
        return None


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for every model it loads; a pool of workers would draw them all at once."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _located(ref: ModelRef, parts: Sequence[str], allow_pickle: bool, cache: Path | None) -> Path:
    match ref.origin:
        case Origin.HUB:
            return _downloaded(ref, parts, allow_pickle)
        case Origin.URI:
            return staged(str(ref), cache or cache_folder())
        case Origin.BUILTIN:
            folder = _BUILTIN / ref.location
        case Origin.FOLDER:
            folder = Path(ref.location).expanduser()
    if not folder.is_dir():
        raise ModelError(f"there is no model {str(ref)!r}: {folder} is no folder")
    return folder


def _downloaded(ref: ModelRef, parts: Sequence[str], allow_pickle: bool) -> Path:
    prefixes = ["" if part == "." else f"{part}/" for part in parts]
    names = ["model", "diffusion_pytorch_model"] + (["pytorch_model"] if allow_pickle else [])
    ends = [".safetensors", "-?????-of-?????.safetensors"] + ([".bin", "-?????-of-?????.bin"] if allow_pickle else [])
    weights = [f"{prefix}{name}{end}" for prefix in prefixes for name in names for end in ends]
    return downloaded(ref, ref.location, [*_BESIDE_WEIGHTS, *weights])


def downloaded(ref: ModelRef, repository: str, wanted: Sequence[str], unwanted: Sequence[str] = ()) -> Path:
    """The folder with a hub repository's files on this machine.

    Args:
        ref: what is told of where it fails, and its revision.
        repository: as ``org/name``.
        wanted: patterns of what to download.
        unwanted: patterns of what not to.

    Raises:
        ModelError: it can't be had.
    """
    from huggingface_hub import errors, snapshot_download

    # Of httpx or of httpx2, as the hub's library has it.
    connection_error = vars(errors)["HTTPError"]
    try:
        folder = snapshot_download(
            repository, revision=ref.revision, allow_patterns=list(wanted), ignore_patterns=list(unwanted)
        )
    except errors.GatedRepoError:
        raise ModelError(f"model {str(ref)!r} is gated: accept its terms on the hub and log in") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(f"there is no model {str(ref)!r} on the hub, or it is private") from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"model {ref.location!r} has no revision {ref.revision!r} on the hub") from None
    except (OSError, connection_error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"model {str(ref)!r} is not on this machine and the hub can't be reached: {reason}") from None
    return Path(folder)
