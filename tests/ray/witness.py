"""A step that tells where its actors are, and whose rows wait until there are enough of them."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from operators import Operator, Spec
from operators.base import Kind, Produced

_DEADLINE_SECONDS = 400


class Witness(Spec):
    """Notes every actor and every row in a folder; adds which process took a row."""

    kind: ClassVar[str] = "witness"

    folder: str
    output: str = "process"
    together: int = 0
    """An actor that loads waits until so many of this step do."""
    actors: int = 0
    """A row waits until so many of them do, or have done so."""
    seconds: float = 0.0
    """How long a row takes then."""

    def reads(self) -> dict[str, Kind]:
        return {}

    def writes(self) -> dict[str, pa.DataType]:
        return {self.output: pa.int64()}

    def load(self, step: Any = None, batch_rows: int = 16, **_: Any) -> Any:
        return _Witnessing(self, step, batch_rows)


class _Witnessing(Operator[Witness, None]):
    def __init__(self, *arguments: Any) -> None:
        import ray

        super().__init__(*arguments)
        context = ray.get_runtime_context()
        self.here = {
            "node": context.get_node_id(),
            "gpus": context.get_accelerator_ids()["GPU"],
            "process": os.getpid(),
        }
        self.loaded = Path(self.spec.folder) / "actors" / self.step
        self.taken = Path(self.spec.folder) / "rows" / self.step
        _note(self.loaded, self.here)
        self._await(self.spec.together)

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Any]:  # noqa: ARG002
        return [None] * table.num_rows

    def run(self, batch: list[Any]) -> Produced:
        _note(self.taken, self.here | {"time": time.time()})
        self._await(self.spec.actors)
        time.sleep(self.spec.seconds)
        return Produced({self.spec.output: [os.getpid()] * len(batch)})

    def _await(self, actors: int) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while len(noted(self.loaded)) < actors:
            if time.monotonic() > deadline:
                raise TimeoutError(f"there are no {actors} actors")
            time.sleep(0.05)


def noted(folder: Path) -> list[dict[str, Any]]:
    """All notes in a folder."""
    return [json.loads(file.read_text()) for file in folder.glob("*.json")]


def _note(folder: Path, what: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    (folder / name).write_text(json.dumps(what))
    (folder / name).rename(folder / f"{name}.json")
