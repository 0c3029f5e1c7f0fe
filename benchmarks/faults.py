"""Any fault, any number of times: no row lost, none twice; and a bad row costs no other.

First jobs (caption, edit into three, filter; sink on an S3 store) are disturbed at random moments and started again
until they are done, and what they wrote is compared with what an undisturbed run wrote: ids, hashes of pixels,
outcomes. Then a job has 1 % of bad rows.

runs         jobs that were disturbed and done
lost         rows or outcomes that are missing then
doubled      those that are there more than once
altered      those with other pixels, or another outcome
orphans      objects that no outcome stands for
seen_doubled how often a reader of data/ saw a row twice meanwhile
seen_short   how often it missed a row that was committed before it looked
bad_rows     rows that were poisoned
wrong_rows   rows that were rejected though they are good, or have another code than their poison's, or are lost
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import common

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults import driving, harness, poisoned
from tests.faults.harness import Told
from tests.faults.poisoned import Bad


def measure(quick: bool, runs: int, log: Path | None, rows: int) -> dict[str, Any]:
    """Both tables and their sums."""
    told, bad = quickly() if quick else (disturbed(runs, log), poisoned.job(rows, 256))
    print(table(told))
    keys = ("lost", "doubled", "altered", "orphans", "seen_doubled", "seen_short")
    sums = {key: sum(getattr(run, key) for run in told) for key in keys}
    print(f"\n{'poison':14} {'code':20} {'rows':>5} {'rejected':>9}")
    for poison, (code, there, rejected) in bad.by_poison.items():
        print(f"{poison:14} {code:20} {there:5} {rejected:9}")
    print(f"{'none':14} {'':20} {bad.good:5} {bad.good_rejected:9}\n")
    return {"runs": len(told), **sums, "bad_rows": bad.bad, "wrong_rows": bad.wrong, "bad_rows_seconds": bad.seconds}


def quickly() -> tuple[list[Told], Bad]:
    """A job without models on one node, disturbed once, and one with a bad row of each kind."""
    with harness.scene(rows=6, part_rows=2, steps=driving.painted, nodes=1) as scene:
        scene.rest()
        told = scene.run(0, [harness.Kind.CUT, harness.Kind.DRIVER], random.Random(0))
        return [told], poisoned.job(20, 32, address=scene.nodes.address)


def disturbed(runs: int, log: Path | None) -> list[Told]:
    """What became of so many runs; those in the log are not done again, and new ones are added to it."""
    told = [harness.from_json(line) for line in log.read_text().splitlines()] if log and log.exists() else []
    if len(told) >= runs:
        return told[:runs]
    with harness.scene() as scene:
        scene.rest()
        for number in range(len(told), runs):
            rng = random.Random(number)
            told.append(scene.run(number, harness.some_kinds(rng), rng))
            if log:
                with log.open("a") as file:
                    file.write(harness.as_json(told[-1]) + "\n")
            print(
                f"{number:4} {told[-1].seconds:6} s", *(blow.kind for blow in told[-1].blows), sep=", ", file=sys.stderr
            )
    return told


def table(told: list[Told]) -> str:
    """Faults by kind: how many there were, and how many of them hit a run that was going on."""
    drawn, hit, runs = Counter[str](), Counter[str](), Counter[str]()
    for run in told:
        drawn.update(blow.kind for blow in run.blows)
        struck = [blow.kind for blow in run.blows if blow.hit]
        hit.update(struck)
        runs.update(set(struck))
    lines = [f"{'fault':28} {'drawn':>6} {'hit a run':>10} {'runs hit':>9}"]
    lines += [f"{kind:28} {drawn[kind]:6} {hit[kind]:10} {runs[kind]:9}" for kind in harness.Kind]
    starts, looks = sum(run.starts for run in told), sum(run.looks for run in told)
    return "\n".join([*lines, f"{len(told)} runs, {starts} starts, {looks} looks at data/"])


if __name__ == "__main__":
    common.main(
        measure,
        __doc__,
        runs={"type": int, "default": 200, "help": "jobs that are disturbed"},
        log={"type": Path, "help": "file of runs: those in it are done, new ones are added"},
        rows={"type": int, "default": 10_000, "help": "rows of the job with bad rows"},
    )
