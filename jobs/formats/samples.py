"""Which file of a WebDataset sample holds which column: pictures, tensors and bytes have their own, JSON the rest."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.formats import naming
from operators import columns, tensors
from operators.errors import SpecError

SCHEMA = "__latentmill__"
"""The first file of a shard: the rows' Arrow schema. Tools for WebDataset pass files by that are named like this."""

_MAIN = "image"
_CAPTIONS = ("caption", "text", "prompt")
_TENSOR, _BYTES = ".npy", ".bin"


@dataclass(frozen=True)
class Layout:
    """The files of a row with such columns."""

    schema: pa.Schema

    @classmethod
    def parse(cls, data: bytes) -> Layout:
        """The layout that :meth:`encoded` tells of."""
        return cls(pa.ipc.read_schema(pa.py_buffer(data)))

    def encoded(self) -> bytes:
        """The content of the file :data:`SCHEMA`."""
        return bytes(self.schema.serialize())

    def refuse(self) -> None:
        """See that samples can hold the columns.

        Raises:
            SpecError: a column's type is none that JSON has, or names can't be told apart.
        """
        seen: dict[str, str] = {}
        for field in self.schema:
            name = field.name
            if not name or "/" in name:
                raise SpecError(f"the column {name!r} can't be part of a file's name; rename it", "sink.format")
            if seen.setdefault(name.lower(), name) != name:
                other = seen[name.lower()]
                raise SpecError(f"the columns {other!r} and {name!r} can't be told apart; rename one", "sink.format")
            if not (columns.is_image(field.type) or columns.is_tensor(field.type) or _is_bytes(field.type)):
                _refuse_what_json_has_not(name, field.type)

    def files(self, row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        """The files of a row by their endings; what is null has none, but in JSON."""
        for name, stem in self._pictures.items():
            data = row[name] and row[name]["bytes"]
            if data is not None:
                yield f"{stem}{naming.ending(data)}", data
        if self._caption and row[self._caption] is not None:
            yield "txt", row[self._caption].encode()
        for name in self._tensors:
            if row[name] is not None:
                yield f"{name}{_TENSOR}".lower(), _npy(row[name])
        for name in self._bytes:
            if row[name] is not None:
                yield f"{name}{_BYTES}".lower(), row[name]
        yield "json", json.dumps({name: row[name] for name in self._rest}, ensure_ascii=False).encode()

    def row(self, key: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        """The row that such files are of; a picture's path is the name of its file."""
        row: dict[str, Any] = {**dict.fromkeys(self.schema.names), **json.loads(files["json"])}
        for ending in files.keys() - {"json", "txt"}:
            data, stem = files[ending], ending[: ending.rfind(".") + 1]
            if f"{stem}*" in self._by_ending:
                row[self._by_ending[f"{stem}*"]] = {"bytes": data, "path": f"{key}.{ending}"}
            elif ending in self._by_ending:
                name = self._by_ending[ending]
                row[name] = _tensor(data) if ending.endswith(_TENSOR) else data
        return row

    @cached_property
    def _pictures(self) -> dict[str, str]:
        """What comes before the ending of every picture: nothing where it is the sample's main one."""
        names = [field.name for field in self.schema if columns.is_image(field.type)]
        main = _MAIN if _MAIN in names else next(iter(names), None)
        return {name: "" if name == main else f"{name.lower()}." for name in names}

    @cached_property
    def _caption(self) -> str | None:
        return next((name for name in _CAPTIONS if name in self._rest and _is_text(self.schema.field(name).type)), None)

    @cached_property
    def _tensors(self) -> list[str]:
        return [field.name for field in self.schema if columns.is_tensor(field.type)]

    @cached_property
    def _bytes(self) -> list[str]:
        return [field.name for field in self.schema if _is_bytes(field.type)]

    @cached_property
    def _rest(self) -> list[str]:
        apart = {*self._pictures, *self._tensors, *self._bytes}
        return [name for name in self.schema.names if name not in apart]

    @cached_property
    def _by_ending(self) -> dict[str, str]:
        """Columns by their endings; a picture's, which its format decides, is ``*``."""
        apart = {f"{stem}*": name for name, stem in self._pictures.items()}
        apart |= {f"{name}{_TENSOR}".lower(): name for name in self._tensors}
        return apart | {f"{name}{_BYTES}".lower(): name for name in self._bytes}


def _refuse_what_json_has_not(name: str, kind: pa.DataType) -> None:
    if pa.types.is_struct(kind):
        for field in kind:
            _refuse_what_json_has_not(f"{name}.{field.name}", field.type)
    elif pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _refuse_what_json_has_not(name, kind.value_type)
    elif not (
        pa.types.is_null(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or _is_text(kind)
    ):
        advice = "leave it out, or write another format"
        raise SpecError(f"webdataset can't hold the column {name!r} ({kind}); {advice}", "sink.format")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _npy(tensor: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(tensor["data"], np.float16).reshape(tensor["shape"]), allow_pickle=False)
    return buffer.getvalue()


def _tensor(data: bytes) -> Any:
    return tensors.pack([np.load(io.BytesIO(data), allow_pickle=False)])[0].as_py()
