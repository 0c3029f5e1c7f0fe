"""From a model's files to a pipeline of diffusers, loaded once to a process."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from diffusers.utils import logging

from operators.models.loading import ModelFiles, without_progress_bars
from operators.pipeline.files import INDEX
from operators.pipeline.signature import near

_REASONS = (AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What diffusers raises on a folder that is not a class's."""

_LOADED: WeakValueDictionary[Hashable, DiffusionPipeline] = WeakValueDictionary()


def pipeline_class(files: ModelFiles, name: str | None) -> type[DiffusionPipeline]:
    """The class called ``name``, or else the one that the model names.

    Raises:
        ModelError: diffusers has no such class, or it needs what isn't installed, or the model brings its own code.
    """
    wanted = files.json(INDEX).get("_class_name") if name is None else name
    if not isinstance(wanted, str):
        raise files.refuse("brings a pipeline of its own; community pipelines and remote code are not supported")
    found = getattr(diffusers, wanted, None)
    if isinstance(found, type) and issubclass(found, DiffusionPipeline):
        return found
    missing = getattr(found, "_backends", None)
    if missing:
        raise files.refuse(f"asks for {wanted}, which needs {' and '.join(missing)} to be installed")
    known = [each for each in dir(diffusers) if "Pipeline" in each]
    raise files.refuse(f"asks for {wanted!r}, which diffusers {diffusers.__version__} has not{near(wanted, known)}")


def load_pipeline(
    files: ModelFiles, kind: type[DiffusionPipeline], device: torch.device, dtype: torch.dtype
) -> DiffusionPipeline:
    """The pipeline in a folder, on a device; steps of one process that ask for the same one share it.

    Raises:
        ModelError: the folder holds another kind of model.
    """
    key = (files.folder.resolve(), files.use_safetensors, kind, str(device), dtype)
    found = _LOADED.get(key)
    if found is None:
        found = _LOADED[key] = _loaded(files, kind, dtype).to(device)
    return found


def _loaded(files: ModelFiles, kind: Any, dtype: torch.dtype) -> Any:
    moved = _moved(files.json(INDEX), kind)
    options = {"torch_dtype": dtype, "use_safetensors": files.use_safetensors, "local_files_only": True}
    try:
        with without_progress_bars(), _without_diffusers_bars():
            pipeline = kind.from_pretrained(files.folder, **options, **dict.fromkeys(moved))
            if moved:
                parts = {name: each.from_pretrained(files.folder / name, **options) for name, each in moved.items()}
                pipeline = kind.from_pipe(pipeline, torch_dtype=dtype, **parts)
    except _REASONS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise files.refuse(f"can't be loaded as a {kind.__name__}: {reason}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _moved(index: dict[str, Any], kind: type[DiffusionPipeline]) -> dict[str, Any]:
    """Parts whose classes are not where the model says they are, as those of deprecated pipelines, which were moved.

    The pipeline's own module has them.
    """
    own = vars(sys.modules[kind.__module__])
    named = {name: made_of for name, made_of in index.items() if isinstance(made_of, list) and len(made_of) == 2}
    return {name: own[each] for name, (library, each) in named.items() if each in own and not _there(library, each)}


def _there(library: str, name: str) -> bool:
    libraries = {"diffusers": diffusers, "transformers": transformers}
    return hasattr(getattr(diffusers.pipelines, library, None) or libraries.get(library), name)


@contextmanager
def _without_diffusers_bars() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
