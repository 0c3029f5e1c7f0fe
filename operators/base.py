"""What an operator is: a cheap spec that says what it does to columns, and the heavy object it loads.

A spec can be made, checked and printed anywhere. ``spec.load()`` imports the networks' libraries, loads the weights
and gives an :class:`Operator`, which maps an Arrow table to an Arrow table.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from operators import columns
from operators.errors import ColumnError, OperatorFailedError, OutOfMemoryError, RowError, ValueMissingError
from operators.flight import expanded, failed, live, with_row_columns
from operators.models.ref import ModelRef
from operators.seeds import step_seeds
from operators.watch import Watch


class Kind(StrEnum):
    """What a step needs a column to hold."""

    IMAGE = "image"
    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "true or false"
    TENSOR = "a tensor"
    IMAGE_OR_TENSOR = "an image or a tensor"
    VALUE = "an image, text, a number, true or false, or a tensor"

    def accepts(self, given: pa.Field) -> bool:
        """Whether a column will do."""
        return any(_HOLDS[kind](given) for kind in _ANY_OF.get(self, (self,)))


_HOLDS: dict[Kind, Callable[[pa.Field], bool]] = {
    Kind.IMAGE: lambda given: columns.feature(given) == "Image",
    Kind.TEXT: lambda given: pa.types.is_string(given.type) or pa.types.is_large_string(given.type),
    Kind.NUMBER: lambda given: pa.types.is_floating(given.type) or pa.types.is_integer(given.type),
    Kind.INTEGER: lambda given: pa.types.is_integer(given.type),
    Kind.BOOLEAN: lambda given: pa.types.is_boolean(given.type),
    Kind.TENSOR: lambda given: columns.is_tensor(given.type),
}
_ANY_OF = {
    Kind.IMAGE_OR_TENSOR: (Kind.IMAGE, Kind.TENSOR),
    Kind.VALUE: (Kind.IMAGE, Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN, Kind.TENSOR),
}


class Column(BaseModel):
    """An option whose value is another one in every row: the column that holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: Annotated[str, Field(min_length=1, description="name of the column")]


class Spec(BaseModel, ABC):
    """Behaviour of one step: frozen, checked when made, free of networks. Where it runs is said elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    """The word that stands for the step in a job file."""

    short: ClassVar[str | None] = None
    """The option that text or a list in the place of all options stands for."""

    branches_share_seed: ClassVar[bool] = False
    """Whether the rows that one row becomes draw the same noise in this step."""

    renamed_by: ClassVar[str] = "output"
    """The option that gives the columns that are added other names."""

    compiles: ClassVar[bool] = False
    """Whether the step has networks that ``torch.compile`` can speed up."""

    @abstractmethod
    def reads(self) -> dict[str, Kind]:
        """The columns that must be there, and what they must hold."""

    @abstractmethod
    def writes(self) -> dict[str, pa.DataType]:
        """The columns that are added, in this order."""

    def describes(self) -> dict[str, dict[str, str]]:
        """What later steps may want to know of the columns that are added: metadata of their fields, by column."""
        return {}

    def settled(self, schema: pa.Schema) -> Self:  # noqa: ARG002
        """The step as it will be after rows of such a schema: options left open take what their columns tell."""
        return self

    def branches(self) -> tuple[str, ...]:
        """Labels of the rows that one row becomes; empty where a row stays one row under its own id."""
        return ()

    def alone(self) -> str:
        """What is wrong where each source row has become one row only; empty where that is as good as any."""
        return ""

    def models(self) -> tuple[ModelRef, ...]:
        """The models that :meth:`load` loads."""
        return ()

    def stage(self) -> None:
        """Have the models' files on this machine, without loading them.

        Raises:
            ModelError: a model can't be had.
        """

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights, by the model's name, as its files are; errors as in :meth:`stage`."""
        return {}

    @abstractmethod
    def load(
        self, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> Loaded[Any]:
        """Load the weights and return the operator.

        Args:
            step: name of the step, part of every row's seed and of the ids of 1 to N rows; the kind unless given.
            batch_rows: rows that go through the networks at once; halved for good when memory runs out.
            device: as in ``torch.device``; the first accelerator, or else the CPU, unless given.
            compiled: compile the networks, where the step :attr:`compiles`: slow at the first batch of every shape.

        Raises:
            ModelError: a model can't be had.
        """

    def chain(self, schema: pa.Schema, where: str = "") -> pa.Schema:
        """The schema after this step.

        Raises:
            ColumnError: a column that the step reads is missing or holds something else, or one that it writes exists.
        """
        for name, kind in self.reads().items():
            if name not in schema.names:
                raise ColumnError(f"there is no column {name!r}; there are {_listed(schema.names)}", where)
            if not kind.accepts(schema.field(name)):
                given = columns.feature(schema.field(name)) or schema.field(name).type
                raise ColumnError(f"column {name!r} is {given}, but must hold {kind.value}", where)
        for name in self.writes():
            if name in schema.names or name in columns.RESERVED:
                raise ColumnError(f"column {name!r} is there already; name another one with `{self.renamed_by}`", where)
        about = self.describes()
        added = [pa.field(name, kind, metadata=about.get(name)) for name, kind in self.writes().items()]
        return pa.schema([*schema, *added], schema.metadata)


def column_options(spec: BaseModel, kinds: dict[str, Kind]) -> dict[str, Kind]:
    """The columns that the options named in ``kinds`` are read from, where they are read from columns."""
    given = {name: getattr(spec, name) for name in kinds}
    return {value.column: kinds[name] for name, value in given.items() if isinstance(value, Column)}


def values(option: Any, table: pa.Table) -> list[Any]:
    """An option's value in every row of a table."""
    if isinstance(option, Column):
        return list(table.column(option.column).to_pylist())
    return [option] * table.num_rows


def required(value: Any, name: str) -> Any:
    """The value, unless it is null.

    Raises:
        ValueMissingError: it is.
    """
    if value is None:
        raise ValueMissingError(f"{name} is null")
    return value


def compute_with(threads: int) -> None:
    """Let the networks of this process compute with so many threads."""
    import torch

    torch.set_num_threads(threads)


@dataclass
class Produced:
    """What a batch became: one value per row in every column, and the rows that failed, by their place in the batch."""

    columns: dict[str, Sequence[Any] | pa.Array]
    errors: dict[int, RowError] = field(default_factory=dict)


S = TypeVar("S", bound=Spec)
P = TypeVar("P")


class Loaded(ABC, Generic[S]):
    """A loaded step: call it with a table, get the table with the step's columns.

    Rows without an id are called ``0``, ``1``, ...; a row that fails keeps its place, with nulls in the new columns
    and the reason in the column ``_error``.
    """

    def __init__(self, spec: S, step: str | None = None, batch_rows: int = 16) -> None:
        self.spec = spec
        self.step = step or spec.kind
        self.batch_rows = batch_rows
        self.batch_sizes: dict[str, int] = {}
        """By id of every row of the last table that went through the networks: with how many, itself among them."""

    def digests(self) -> dict[str, str]:
        """SHA-256 of each model's weights, by the model's name."""
        return {}

    @abstractmethod
    def __call__(self, table: pa.Table, watch: Watch | None = None) -> pa.Table:
        """Apply the step to every row that is still live, while ``watch`` stands by."""


class Operator(Loaded[S], Generic[S, P]):
    """A loaded step that takes rows in batches, and finds the row at fault where a batch fails."""

    def __init__(self, spec: S, step: str | None = None, batch_rows: int = 16) -> None:
        super().__init__(spec, step, batch_rows)
        self._ever_succeeded = False

    @abstractmethod
    def prepare(self, table: pa.Table, seeds: list[int]) -> list[P | RowError]:
        """What the networks need of every row, on the CPU; or why the row can't be used."""

    def group(self, prepared: P) -> Hashable:  # noqa: ARG002
        """Rows of one batch have this in common."""
        return None

    @abstractmethod
    def run(self, batch: list[P]) -> Produced:
        """Put a batch through the networks."""

    def __call__(self, table: pa.Table, watch: Watch | None = None) -> pa.Table:
        """Apply the step to every row that is still live, while ``watch`` stands by."""
        watch = watch or Watch()
        table, seeds = expanded(with_row_columns(table), self.step, self.spec.branches())
        seeds = seeds if self.spec.branches_share_seed else table[columns.SEED]
        places = live(table)
        rows = table.take(pa.array(places, pa.int64()))
        drawn = step_seeds(seeds.take(pa.array(places, pa.int64())), self.step)
        row_ids = rows[columns.ROW_ID].to_pylist()
        prepared = self._prepared(rows, row_ids, drawn, watch) if places else []
        outcome = _Outcome(list(self.spec.writes()))
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for row, item in enumerate(prepared):
            if isinstance(item, RowError):
                outcome.errors[row] = item
            else:
                groups[self.group(item)].append(row)
        for members in groups.values():
            for batch in self._batches(members, watch):
                for piece in watch.pieces([row_ids[row] for row in batch]):
                    self._isolated(batch[piece], prepared, outcome)
        self.batch_sizes = {row_ids[row]: size for row, size in outcome.sizes.items()}
        self._refuse_a_bug(outcome, len(places))
        return self._joined(table, places, outcome)

    def _prepared(self, rows: pa.Table, row_ids: list[str], seeds: list[int], watch: Watch) -> list[Any]:
        prepared: list[Any] = []
        refused = watch.refused(row_ids)
        for piece in watch.pieces(row_ids, len(self.spec.branches()) or 1):
            prepared += refused[piece] if all(refused[piece]) else self.prepare(rows[piece], seeds[piece])
        return [error or item for error, item in zip(refused, prepared, strict=True)]

    def _batches(self, members: list[int], watch: Watch) -> Iterator[list[int]]:
        first, family = 0, len(self.spec.branches()) or 1
        while first < len(members):
            size = self.batch_rows // family * family or self.batch_rows
            yield watch.filled(members[first : first + size], size)
            first += size

    def _isolated(self, rows: list[int], prepared: list[Any], outcome: _Outcome) -> None:
        """Run a batch; if it fails, run its halves, until the row at fault stands alone."""
        try:
            produced = self.run([prepared[row] for row in rows])
        except Exception as error:  # noqa: BLE001 - what a network raises for one odd row can't be listed
            if _out_of_memory(error) and len(rows) > 1:
                self.batch_rows = max(1, len(rows) // 2)
            if len(rows) == 1:
                outcome.fail(rows[0], error)
                return
            middle = len(rows) // 2
        else:
            outcome.add(rows, produced)
            return
        _release_memory()
        self._isolated(rows[:middle], prepared, outcome)
        self._isolated(rows[middle:], prepared, outcome)

    def _refuse_a_bug(self, outcome: _Outcome, live: int) -> None:
        """Crash when the operator has failed on every row it ever saw, for reasons nobody foresaw."""
        if len(outcome.unforeseen) < max(live, 2):
            self._ever_succeeded |= bool(outcome.rows)
        elif not self._ever_succeeded:
            raise outcome.unforeseen[0]

    def _joined(self, table: pa.Table, places: list[int], outcome: _Outcome) -> pa.Table:
        at: list[int | None] = [None] * table.num_rows
        for produced, row in enumerate(outcome.rows):
            at[places[row]] = produced
        taken = pa.array(at, pa.int64())
        for name, kind in self.spec.writes().items():
            chunks = [_typed(chunk, kind) for chunk in outcome.columns[name]]
            table = table.append_column(pa.field(name, kind), pa.chunked_array(chunks, kind).take(taken))
        return failed(table, self.step, {places[row]: error for row, error in outcome.errors.items()})


class _Outcome:
    """What came of the rows of one table so far, in the order in which they were done."""

    def __init__(self, names: list[str]) -> None:
        self.rows: list[int] = []
        self.sizes: dict[int, int] = {}
        self.columns: dict[str, list[Any]] = {name: [] for name in names}
        self.errors: dict[int, RowError] = {}
        self.unforeseen: list[Exception] = []

    def add(self, rows: list[int], produced: Produced) -> None:
        good = [place for place in range(len(rows)) if place not in produced.errors]
        self.errors |= {rows[place]: error for place, error in produced.errors.items()}
        self.rows += [rows[place] for place in good]
        self.sizes |= dict.fromkeys(rows, len(rows))
        at = pa.array(good, pa.int64())
        for name, chunks in self.columns.items():
            given = produced.columns[name]
            chunks.append(given.take(at) if isinstance(given, pa.Array) else [given[place] for place in good])

    def fail(self, row: int, error: Exception) -> None:
        if isinstance(error, RowError):
            self.errors[row] = error
        elif _out_of_memory(error):
            self.errors[row] = OutOfMemoryError(_first_line(error))
        else:
            self.unforeseen.append(error)
            self.errors[row] = OperatorFailedError(f"{type(error).__name__}: {_first_line(error)}")


def _typed(chunk: Sequence[Any] | pa.Array, kind: pa.DataType) -> pa.Array:
    return chunk.cast(kind) if isinstance(chunk, pa.Array) else pa.array(chunk, kind)


def _out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    ours = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, ours) or "can't allocate memory" in str(error)


def _release_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
