"""Weights that go on top of a model: a file of them, wherever it lies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from operators.errors import ModelError
from operators.models.loading import downloaded, only_a_pickle, sha256_of
from operators.models.ref import ModelRef, Origin
from operators.models.staging import cache_folder, staged

_SAFE = (".safetensors",)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class AdapterRef(ModelRef):
    """Where an adapter comes from: a file or folder, an fsspec URI of either, or ``org/name[/file]@revision``."""

    __slots__ = ()

    @property
    def is_there(self) -> bool:
        """Whether a file or folder is on this machine."""
        return self.folder.exists()

    @property
    def repository(self) -> str:
        """The ``org/name`` of a hub repository."""
        return "/".join(self.location.split("/")[:2])

    @property
    def file(self) -> str:
        """The file that is named within a hub repository, or nothing."""
        return "/".join(self.location.split("/")[2:])

    @classmethod
    def parse(cls, text: str) -> AdapterRef:
        """Check a name's form.

        Raises:
            ValueError: it can't be an adapter.
        """
        ref = cls(text)
        if not text or ref.origin is Origin.BUILTIN or (ref.origin is Origin.HUB and "/" not in ref.location):
            raise ValueError(
                f"{text!r} is no adapter: give a file, a folder, a URI, or a hub id as `org/name@revision` or "
                "`org/name/file@revision`"
            )
        return ref


class AdapterFiles:
    """An adapter's file on this machine.

    Args:
        ref: where it comes from.
        names: what the file may be called, without its ending, the likeliest first; where the adapter is a folder with
            none so called, the only file of weights in it is taken.
        allow_pickle: take a pickle where there is no safetensors; reading one can run any code.
        cache: where what comes from an fsspec URI is kept; beside the hub's unless given.

    Attributes:
        path: the file.

    Raises:
        ModelError: there is none, it can't be reached, or it is a pickle.
    """

    def __init__(
        self, ref: AdapterRef, names: Sequence[str], allow_pickle: bool = False, cache: Path | None = None
    ) -> None:
        self.ref = ref
        self._allow_pickle = allow_pickle
        place = _located(ref, allow_pickle, cache)
        self.path = self._found(place, names) if place.is_dir() else self._allowed(place)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return sha256_of([self.path])

    def beside(self, pattern: str) -> list[Path]:
        """Further files of weights in the same folder whose names without their ending match a pattern.

        Raises:
            ModelError: one is there as a pickle alone.
        """
        found = {path.stem: path for path in sorted(self.path.parent.glob(f"{pattern}.*"), key=_is_safe)}
        return [self._allowed(path) for path in found.values() if path.suffix in (*_SAFE, *_PICKLES)]

    def read(self, path: Path | None = None) -> Any:
        """What the file holds, tensors by name, on the CPU; or one of those :meth:`beside`.

        Raises:
            ModelError: it can't be read.
        """
        import pickle

        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = path or self.path
        try:
            if path.suffix in _SAFE:
                return load_file(path)
            return torch.load(path, map_location="cpu", weights_only=True)
        except (SafetensorError, pickle.UnpicklingError, OSError, EOFError, RuntimeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise self.refuse(f"can't be read: {path.name}: {reason}") from None

    def metadata(self, key: str) -> dict[str, Any]:
        """What a safetensors file has under a key of its metadata, in JSON; nothing where it has none.

        Raises:
            ModelError: it is not JSON.
        """
        from safetensors import safe_open

        if self.path.suffix not in _SAFE:
            return {}
        with safe_open(self.path, "pt") as held:
            told = (held.metadata() or {}).get(key)
        try:
            found: dict[str, Any] = json.loads(told) if told else {}
        except ValueError as error:
            raise self.refuse(f"has {key} that is not JSON: {error}") from None
        return found

    def refuse(self, reason: str) -> ModelError:
        """The error that says why this adapter won't do."""
        return ModelError(f"adapter {str(self.ref)!r} {reason}")

    def _found(self, folder: Path, names: Sequence[str]) -> Path:
        files = sorted(path for path in folder.iterdir() if path.suffix in (*_SAFE, *_PICKLES))
        for kinds in (_SAFE, _PICKLES):
            fitting = [path for path in files if path.suffix in kinds]
            named = [path for name in names for path in fitting if path.stem == name]
            if named or len(fitting) == 1:
                return self._allowed((named or fitting)[0])
            if fitting:
                raise self.refuse(f"has several files of weights, {', '.join(path.name for path in fitting)}: name one")
        raise self.refuse(f"has no {names[0]}.safetensors")

    def _allowed(self, path: Path) -> Path:
        if path.suffix in _PICKLES and not self._allow_pickle:
            raise self.refuse(only_a_pickle(path.name))
        if path.suffix not in (*_SAFE, *_PICKLES):
            raise self.refuse(f"is no file of weights: {path.name} ends otherwise than .safetensors")
        return path


def _is_safe(path: Path) -> bool:
    return path.suffix in _SAFE


def _located(ref: AdapterRef, allow_pickle: bool, cache: Path | None) -> Path:
    if ref.origin is Origin.HUB:
        kinds = _SAFE + _PICKLES * allow_pickle
        wanted, unwanted = ([ref.file], []) if ref.file else ([f"*{kind}" for kind in kinds], ["*/*"])
        return downloaded(ref, ref.repository, wanted, unwanted) / ref.file
    if ref.origin is Origin.URI:
        copy = staged(str(ref), cache or cache_folder())
        files = [path for path in copy.iterdir() if path.is_file()]
        return files[0] if len(files) == 1 else copy
    if not ref.is_there:
        raise ModelError(f"there is no adapter {str(ref)!r}: no such file or folder")
    return ref.folder
