"""A job some of whose rows are bad, each in another way."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
from PIL import Image

from jobs import Job
from operators import columns
from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene
from tests.faults.poison import Poisoned

CODES = {
    "undecodable": "image_undecodable",
    "nan": "not_finite",
    "memory": "out_of_memory",
    "raise": "operator_failed",
    "kill": "process_killed",
}
"""What is wrong with a row, and the code that it is rejected with."""


@dataclass(frozen=True)
class Bad:
    """What became of bad rows and good ones."""

    by_poison: dict[str, tuple[str, int, int]]
    """Code, rows that have the poison, and how many of them were rejected with the code."""
    good: int
    good_rejected: int
    bad: int
    wrong: int
    """Rows that came to another end than they should have."""
    seconds: float


def source(rows: int, poisons: dict[int, str]) -> pa.Table:
    """Pictures, a few over and over, some of which are poisoned."""
    few = encode_all(draw([scene(row, 3) for row in range(32)])).to_pylist()
    pictures = list(itertools.islice(itertools.cycle(few), rows))
    wide = encode_all([Image.new("RGB", (96, 64))]).to_pylist()[0]
    odd = {"undecodable": {"bytes": b"no picture", "path": None}, "memory": wide}
    for row, poison in poisons.items():
        pictures[row] = odd.get(poison, pictures[row])
    return pa.table(
        {"image": pa.array(pictures, columns.IMAGE), "poison": [poisons.get(row, "") for row in range(rows)]}
    )


def job(rows: int, part_rows: int, share: float = 0.01, seed: int = 0, address: str | None = None) -> Bad:
    """Run it on a cluster that shares this machine's files; so many of the rows are bad, at least one in each way."""
    chosen = random.Random(seed).sample(range(rows), max(len(CODES), round(rows * share)))
    poisons = dict(zip(chosen, itertools.cycle(CODES), strict=False))
    with tempfile.TemporaryDirectory() as folder:
        sink = Path(folder, "sink")
        summary = Job(
            source=source(rows, poisons),
            steps=[Poisoned(notes=folder)],
            sink={"uri": str(sink), "part_rows": part_rows},
            max_rejects="100%",
        ).run(address)
        rejects = pads.dataset(sink / "rejects").to_table(["row_id", "_error_code"])
        good = pads.dataset(sink / "data").to_table(["row_id"])["row_id"].to_pylist()
    codes = dict(zip(rejects["row_id"].to_pylist(), rejects["_error_code"].to_pylist(), strict=True))
    expected = {f"table#{row}": CODES[poison] for row, poison in poisons.items()}
    right = Counter(code for row, code in codes.items() if expected.get(row) == code)
    drawn = Counter(expected.values())
    ends = Counter([*good, *codes])
    wrong = [
        row for row in map("table#{}".format, range(rows)) if ends[row] != 1 or codes.get(row) != expected.get(row)
    ]
    return Bad(
        {poison: (code, drawn[code], right[code]) for poison, code in CODES.items()},
        rows - len(poisons),
        len(codes.keys() - expected.keys()),
        len(poisons),
        len(wrong),
        summary.seconds,
    )
