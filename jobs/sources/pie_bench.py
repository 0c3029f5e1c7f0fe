"""PIE-Bench (Ju et al. 2024): pictures, what each shows and what it shall show, and where an edit may change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, TypeAdapter, ValidationError

from jobs.sources.base import Scan, Source
from jobs.sources.content import content_hashes
from jobs.sources.files import Listing, explained
from jobs.sources.spec import SourceSpec
from jobs.sources.table import cut
from operators import columns
from operators.errors import SourceError
from operators.images import encode_all

MAPPING = "mapping_file.json"
PICTURES = "annotation_images"
SIDE = 512
"""Pixels of a side of a picture and its mask."""


class Entry(BaseModel):
    """What the mapping file says of a picture; other keys are passed over."""

    image_path: str
    original_prompt: str
    editing_prompt: str
    editing_instruction: str
    editing_type_id: str
    blended_word: str = ""
    mask: list[int]


_MAPPING = TypeAdapter(dict[str, Entry])
_NOT_THE_FILE = "this is not as PIE-Bench has it"


class PieBenchSource(Source):
    """The benchmark's folder: ``mapping_file.json``, and the pictures in ``annotation_images/``.

    A row is called by its key in the mapping file, as ``000000000000``. Its columns are ``image``, ``mask``,
    ``original_prompt`` and ``editing_prompt`` without the brackets around words that differ, ``editing_instruction``,
    ``editing_type_id`` and ``blended_word``.
    """

    def __init__(self, listing: Listing, spec: SourceSpec) -> None:
        super().__init__(spec)
        self.listing = listing

    def scan(self, part_rows: int) -> Scan:
        """Read the mapping file; pictures are read with their rows."""
        entries = self._entries()
        paths = [f"{PICTURES}/{entry.image_path}" for entry in entries.values()]
        masks = encode_all([Image.fromarray(mask) for mask in self._masks(entries)])
        told = [entry.model_dump(exclude={"image_path", "mask"}) for entry in entries.values()]
        texts = {name: [_plain(row[name]) for row in told] for name in told[0]}
        table = pa.table(
            {
                "image": pa.array([{"bytes": None, "path": path} for path in paths], columns.IMAGE),
                "mask": masks,
                **{name: pa.array(values, columns.TEXT) for name, values in texts.items()},
            }
        )
        version_of = {file.name: file.version for file in self.listing.files}
        known = content_hashes(table).to_pylist()
        versions = [f"{own} {version_of.get(path, '')}" for own, path in zip(known, paths, strict=True)]
        marks = pa.array(versions, pa.string())
        return Scan(self.listing.uri, table.schema, cut(list(entries), table, part_rows, self.listing.root, marks))

    def _entries(self) -> dict[str, Entry]:
        """What the mapping file says, by key.

        Raises:
            SourceError: there is none, or it is not as the benchmark's.
        """
        found = [file for file in self.listing.files if file.name == MAPPING]
        if not found:
            raise SourceError(f"there is no {MAPPING} here; give the folder that PIE-Bench lies in", self.listing.uri)
        with explained(found[0].path):
            data = found[0].read()
        try:
            entries = _MAPPING.validate_json(data)
        except ValidationError as error:
            fault: Any = error.errors()[0]
            keys = ".".join(map(str, fault["loc"]))
            raise SourceError(f"{keys}: {fault['msg']}; {_NOT_THE_FILE}".lstrip(": "), found[0].path) from error
        if not entries:
            raise SourceError(f"it names no pictures; {_NOT_THE_FILE}", found[0].path)
        return entries

    def _masks(self, entries: dict[str, Entry]) -> Iterator[NDArray[np.uint8]]:
        for key, entry in entries.items():
            try:
                yield decoded(entry.mask)
            except ValueError as error:
                where = f"{self.listing.uri}/{MAPPING}"
                raise SourceError(f"{key}.mask: {error}; {_NOT_THE_FILE}", where) from error


def decoded(runs: Sequence[int]) -> NDArray[np.uint8]:
    """A mask ``(512, 512)``, 255 where the edit may change the picture, of runs ``[start, length, ...]`` over its rows.

    Its rim always is, as the benchmark has it for what its annotators missed there.

    Raises:
        ValueError: the runs are no pairs, or begin outside of the picture.
    """
    pairs = np.asarray(runs, np.int64).reshape(-1, 2)
    if ((pairs < 0) | (pairs[:, :1] >= SIDE * SIDE)).any():
        raise ValueError("a run of the mask lies outside of the picture")
    mask = np.zeros(SIDE * SIDE, np.uint8)
    for start, length in pairs.tolist():
        mask[start : start + length] = 255
    square = mask.reshape(SIDE, SIDE)
    square[[0, -1]] = square[:, [0, -1]] = 255
    return square


def _plain(text: str) -> str:
    return text.replace("[", "").replace("]", "")
