"""A part: some source rows and all that became of them, which travel, fail and are committed as one.

Between steps a part is one row of the Ray Dataset: an Arrow IPC stream in a binary column. Ray cuts and merges blocks
between rows, so the outputs of a source row can't come apart, and a part whose rows were all left out is still there to
be committed.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

_PART, _NOTES = "part", "notes"


def pack(table: pa.Table, notes: dict[str, Any]) -> pa.Table:
    """One row that holds a part and what was noted about it (JSON).

    A part without rows only brings its notes to the driver: steps hand it on, and nothing is committed.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    buffer = sink.getvalue()
    offsets = pa.py_buffer(memoryview(bytearray((0).to_bytes(8, "little") + buffer.size.to_bytes(8, "little"))))
    part = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, buffer])
    return pa.table({_PART: part, _NOTES: pa.array([json.dumps(notes)])})


def unpack(row: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
    """The part that a row holds, without a copy, and its notes."""
    part = row[_PART][0].as_buffer()
    return pa.ipc.open_stream(part).read_all(), json.loads(row[_NOTES][0].as_py())
