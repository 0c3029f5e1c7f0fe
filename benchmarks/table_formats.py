"""What it costs a table to lose single rows and to hold many parts: why rows that change are in Lance.

Delta is measured where it is installed (``pip install deltalake``).

lance_delete_kb     written to delete one row of 100 kB of 200
delta_delete_kb     the same, with deletion vectors enabled
publish_ms          of the driver, for each part that a run's version holds
replace_ms          of the driver, for each part that has a row that was made again
"""

from __future__ import annotations

import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import common
import lance
import numpy as np
import pyarrow as pa

from jobs.formats import FORMATS, SinkFormat
from jobs.formats.table import REPLACED
from jobs.sink import ledger
from jobs.sink.ledger import Epoch, Start
from jobs.sink.writer import Writer
from jobs.stores.store import Store
from operators import columns

ROWS, BYTES = 200, 100_000
PART_ROWS = 4
SCHEMA = pa.schema([pa.field("n", pa.int64()), *columns.LINEAGE])


def measure(quick: bool) -> dict[str, Any]:
    """Both tables' deletes, and what versions of many parts take."""
    rng = np.random.default_rng(0)
    pictures = pa.table({"id": np.arange(ROWS), "image": [rng.bytes(BYTES) for _ in range(ROWS)]})
    with tempfile.TemporaryDirectory() as folder:
        figures = {"lance_delete_kb": lance_delete(pictures, Path(folder, "lance"))}
        if find_spec("deltalake"):
            figures["delta_delete_kb"] = delta_delete(pictures, Path(folder, "delta"))
        parts, again = (100, 20) if quick else (1000, 100)
        figures["publish_ms"], figures["replace_ms"] = versions(Path(folder, "sink"), parts, again)
    return {name: round(value, 2) for name, value in figures.items()}


def lance_delete(pictures: pa.Table, folder: Path) -> float:
    """Kilobytes."""
    table = lance.write_dataset(pictures, folder)
    before = size(folder)
    table.delete("id = 7")
    return (size(folder) - before) / 1000


def delta_delete(pictures: pa.Table, folder: Path) -> float:
    """Kilobytes."""
    import deltalake

    deltalake.write_deltalake(folder, pictures, configuration={"delta.enableDeletionVectors": "true"})
    before = size(folder)
    deltalake.DeltaTable(folder).delete("id = 7")
    return (size(folder) - before) / 1000


def versions(folder: Path, parts: int, again: int) -> tuple[float, float]:
    """Milliseconds a part: of a run that has so many, and of one that makes a row of some of them again."""
    store, lance_format = Store.at(str(folder)), FORMATS[SinkFormat.LANCE]
    took = []
    for run, number in enumerate((parts, again)):
        start = Start(f"run-{run}", "plan")
        epoch = ledger.claim(store, start, ledger.check(store, start))
        ledger.settle(epoch, start)
        for part in range(number):
            ids = [f"a#{part * PART_ROWS + row}" for row in range(1 if run else PART_ROWS)]
            commit(epoch, ids, replaced=ids if run else [])
        ledger.close(epoch)
        began = time.perf_counter()
        lance_format.settle(epoch, SCHEMA, before=epoch.number + 1)
        took.append((time.perf_counter() - began) / number * 1000)
    return took[0], took[1]


def commit(epoch: Epoch, ids: list[str], replaced: list[str]) -> None:
    """Commit a part of these source rows."""
    same = dict.fromkeys((columns.SOURCE_URI, columns.CONTENT_HASH, columns.RUN_ID, columns.PLAN), ["same"] * len(ids))
    rows = {"n": range(len(ids)), columns.ROW_ID: ids, columns.SOURCE_ID: ids, columns.SEED: [0] * len(ids), **same}
    flying = {columns.VERSION: [0] * len(ids), columns.KEPT: [True] * len(ids)}
    table = pa.table({**rows, **flying, columns.ERROR: pa.nulls(len(ids), columns.ERROR_TYPE)})
    noted = {REPLACED: json.dumps(replaced)} if replaced else {}
    Writer(epoch, SCHEMA, FORMATS[SinkFormat.LANCE]).commit(table, ledger.file_key("a"), noted)


def size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    common.main(measure, __doc__)
