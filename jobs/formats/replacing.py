"""Source rows that were made again: which earlier parts have them, and their removal from what these parts tell."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.formats.parquet import encoded
from jobs.sink import ledger
from jobs.stores.store import Store
from operators.columns import SOURCE_ID

Holders = dict[str, list[str]]
"""Earlier parts, each with those of its source rows that were made again."""

_THREADS = 32


def holders(sink: Store, replaced: Mapping[str, set[str]], before: int) -> Holders:
    """Look where rows are that were made again.

    Args:
        sink: the sink.
        replaced: ids, by the key of the source file.
        before: the epoch that made them again.

    Raises:
        SinkError: the sink can't be read.
    """
    wanted = {key: pa.array(ids, pa.string()) for key, ids in replaced.items()}
    names = [name for name in ledger.committed(sink) if ledger.epoch_of(name) < before] if wanted else []
    names = [name for name in names if ledger.file_of(name) in wanted]
    found: Holders = {}
    for name, table in zip(names, ledger.outcomes(sink, names, [SOURCE_ID]), strict=True):
        ids = table[SOURCE_ID].filter(pc.is_in(table[SOURCE_ID], wanted[ledger.file_of(name)])).to_pylist()
        found.update({name: ids} if ids else {})
    return found


def forget(sink: Store, held: Holders) -> None:
    """Take the rows out of the outcomes, the rejects and the filtered rows of these parts.

    Raises:
        SinkError: the sink can't be read or written.
    """

    def forgotten(name: str) -> None:
        without = pa.array(held[name], pa.string())
        _rewrite(sink, f"{ledger.REJECTS}/{name}", without)
        filtered = _rewrite(sink, f"{ledger.FILTERED}/{name}", without)
        _rewrite(sink, f"{ledger.OUTCOMES}/{name}", without, {ledger.FILTERED_ROWS.encode(): str(filtered).encode()})

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(forgotten, held))


def _rewrite(sink: Store, name: str, without: pa.Array, told: Mapping[bytes, bytes] = MappingProxyType({})) -> int:
    """Write an object without some rows, and with other values of what it tells; how many rows there are then."""
    data = sink.get(name)
    if data is None:
        return 0
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        table = file.read(use_threads=False)
    kept = table.filter(pc.invert(pc.is_in(table[SOURCE_ID], without)))
    if not kept.num_rows and not name.startswith(ledger.OUTCOMES):
        sink.remove([name])
    else:
        about = kept.schema.metadata or {}
        sink.put(name, encoded(kept.replace_schema_metadata({key: told.get(key, about[key]) for key in about})))
    return int(kept.num_rows)
