"""Which rows end the process that works on them; and which file, where there are no rows yet.

What is in hand is noted by an actor on the driver's node before it is worked on, so the note outlives the process. A
part that comes again though nobody has ended it was in hand when a process died. Then every batch of it is noted; a
batch that is in hand at two deaths is taken row by row; and a row that is alone in hand at two deaths is not tried
again. Deaths that have other reasons hit different rows, and so cost nothing but time. One death proves nothing and
changes no batch: rows of batches of other shapes would differ in the last bit.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.pipeline.processes import Process
from operators.errors import ProcessKilledError, ResourceError, RowError
from operators.watch import Watch

Rows = tuple[str, ...]
Key = tuple[str, str]
"""A stage and a part in it."""

_DEATHS = 2
"""Deaths that are no accident."""
_IDLE_DEATHS = 4
"""Deaths with a part in hand but none of its rows, until the job ends."""
_KILLERS = 4
"""Rows that end the process in a step that never took a row alone, nor a part, to its end, until the job ends."""
_LOADS = 5
"""Deaths of one actor while it loads, one after another, until the job ends."""
_LOOK = "look for a lack of memory, or for a crash in the workers' logs"


@dataclass(frozen=True)
class InHand:
    """What a process works on: a step, rows of it (none: the step as a whole), and whether they can't be parted."""

    step: str
    rows: Rows
    inseparable: bool
    process: Process


@dataclass
class Trouble:
    """What is known of a part that was in hand when a process died."""

    deaths: Counter[tuple[str, Rows]] = field(default_factory=Counter)
    killers: dict[tuple[str, str], Process] = field(default_factory=dict)
    """By step and row, the process that died last."""
    hopeless: str = ""
    """Why the job is to end, if it is."""

    def add(self, last: InHand) -> None:
        """Count a death."""
        self.deaths[last.step, last.rows] += 1
        if last.inseparable and self.deaths[last.step, last.rows] >= _DEATHS:
            self.killers |= {(last.step, row): last.process for row in last.rows}


class Suspects:
    """The notes, seen from the actors of one stage. Picklable."""

    def __init__(self, notes: Any, stage: str) -> None:
        self._notes = notes
        self._stage = stage

    def load(self) -> None:
        """Tell that this actor begins to load its weights.

        Raises:
            ResourceError: its process has died of that too often.
        """
        if ray.get(self._notes.load.remote(ray.get_runtime_context().get_actor_id())) > _LOADS:
            raise ResourceError(f"{self._stage}: the process died {_LOADS} times while weights were loaded; {_LOOK}")

    def loaded(self) -> None:
        """Tell that it has."""
        self._notes.loaded.remote(ray.get_runtime_context().get_actor_id())

    def watch(self, part: str, step: str) -> Watch:
        """Tell that a part goes into a step, and have the one who stands by.

        Raises:
            ResourceError: too many processes died of this step to go on.
        """
        trouble = ray.get(self._notes.begin.remote((self._stage, part), step, Process.this()))
        if trouble is None:
            return Watch()
        if trouble.hopeless:
            raise ResourceError(trouble.hopeless)
        return _Closely(self._notes, (self._stage, part), step, trouble)

    def whole(self, key: str, doing: str, name: str) -> None:
        """Tell that something is in hand that can't be parted: a fragment to be read, a part to be committed.

        Args:
            key: what tells it from others.
            doing: what is done with it.
            name: what a user knows it by.

        Raises:
            ResourceError: too many processes died of it to go on.
        """
        trouble = ray.get(self._notes.begin.remote((self._stage, key), doing, Process.this()))
        if trouble is not None and trouble.deaths.total() >= _IDLE_DEATHS:
            raise ResourceError(f"{doing} {name}: the process died {_IDLE_DEATHS} times on it; {_LOOK}")

    def end(self, part: str) -> None:
        """Tell that a part has left the stage."""
        self._notes.end.remote((self._stage, part))


@contextlib.contextmanager
def noted(names: Sequence[str]) -> Iterator[list[Suspects]]:
    """Take notes while the block lasts, on this node; one view for every stage."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    for_ever = {"max_restarts": -1, "max_task_retries": -1}
    notes = ray.remote(_Notes).options(num_cpus=0, scheduling_strategy=here, **for_ever).remote()
    try:
        yield [Suspects(notes, name) for name in names]
    finally:
        # A handle that went into a dataset keeps an actor alive for as long as the driver lives.
        ray.kill(notes)


class _Closely(Watch):
    """Notes every batch of a part that was in hand when a process died."""

    def __init__(self, notes: Any, part: tuple[str, str], step: str, trouble: Trouble) -> None:
        self._notes = notes
        self._part = part
        self._step = step
        self._trouble = trouble

    def refused(self, row_ids: Sequence[str]) -> list[RowError | None]:
        killers = self._trouble.killers
        ends = {row: killers[self._step, row].end() for row in row_ids if (self._step, row) in killers}
        return [
            ProcessKilledError(f"{ends[row]}, more than once, on this row alone") if row in ends else None
            for row in row_ids
        ]

    def pieces(self, row_ids: Sequence[str], least: int = 1) -> Iterator[slice]:
        suspected = self._trouble.deaths[self._step, tuple(row_ids)] >= _DEATHS
        size = least if suspected else len(row_ids)
        for first in range(0, len(row_ids), size):
            rows = tuple(row_ids[first : first + size])
            self._note(rows, size <= least)
            yield slice(first, first + size)
        self._note((), False)

    def _note(self, rows: Rows, inseparable: bool) -> None:
        ray.get(self._notes.note.remote(self._part, rows, inseparable))


@dataclass
class _Part:
    in_hand: InHand
    trouble: Trouble | None = None


class _Notes:
    """What is in hand now. Should its own process die, the search begins anew."""

    def __init__(self) -> None:
        self.parts: dict[Key, _Part] = {}
        self.killers: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.passed: set[tuple[str, str]] = set()
        self.loads: Counter[str] = Counter()

    def load(self, actor: str) -> int:
        self.loads[actor] += 1
        return self.loads[actor]

    def loaded(self, actor: str) -> None:
        self.loads.pop(actor, None)

    def begin(self, key: Key, step: str, process: Process) -> Trouble | None:
        now = InHand(step, (), False, process)
        part = self.parts.setdefault(key, _Part(now))
        last, part.in_hand = part.in_hand, now
        if last.process.worker == process.worker:
            self.passed |= {(key[0], last.step)} - {(key[0], step)}
        elif _lives(last.process.node):
            part.trouble = part.trouble or Trouble()
            part.trouble.add(last)
            part.trouble.hopeless = self._hopeless(key, last.step, part.trouble)
        return part.trouble

    def note(self, key: Key, rows: Rows, inseparable: bool) -> None:
        part = self.parts.get(key)
        if part is not None:
            if part.in_hand.inseparable:
                self.passed.add((key[0], part.in_hand.step))
            part.in_hand = replace(part.in_hand, rows=rows, inseparable=inseparable)

    def end(self, key: Key) -> None:
        part = self.parts.pop(key, None)
        if part is not None:
            self.passed.add((key[0], part.in_hand.step))

    def _hopeless(self, key: Key, step: str, trouble: Trouble) -> str:
        """Why searching on would find nothing, or nothing but killers, if so."""
        if trouble.deaths[step, ()] >= _IDLE_DEATHS:
            return f"{step}: the process died {_IDLE_DEATHS} times on a part, on no row of it; {_LOOK}"
        killers = self.killers[key[0], step]
        killers |= {row for at, row in trouble.killers if at == step}
        if len(killers) >= _KILLERS and (key[0], step) not in self.passed:
            return f"{step}: the process died on each of the first {len(killers)} rows; {_LOOK}"
        return ""


def _lives(node: str) -> bool:
    """Whether a node is still there; where it is not, its processes died of that."""
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())
