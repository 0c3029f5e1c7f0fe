"""Which files of a model a pipeline loads: its ``model_index.json`` names the parts."""

from __future__ import annotations

import re

from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef

INDEX = "model_index.json"
_CONFIG = "config.json"
_WEIGHTLESS = re.compile(r"Tokenizer|Processor|FeatureExtractor|Scheduler")
"""Classes of parts that are no networks; some have a ``config.json`` like one."""


def pipeline_files(ref: ModelRef, allow_pickle: bool = False) -> ModelFiles:
    """A pipeline's files on this machine, with the weights of every network that the model names.

    Raises:
        ModelError: as for :class:`ModelFiles`, or there is no ``model_index.json``.
    """
    listed = ModelFiles(ref, (), allow_pickle)
    parts = [
        name
        for name, made_of in listed.json(INDEX).items()
        if isinstance(made_of, list) and isinstance(made_of[-1], str) and not _WEIGHTLESS.search(made_of[-1])
    ]
    return ModelFiles(ref, [part for part in parts if (listed.folder / part / _CONFIG).is_file()], allow_pickle)
