"""What a job is: what to read, what to do, where to write. All of it is checked before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, PlainSerializer
from pydantic.annotated_handlers import GetCoreSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from cluster.resources import Resources
from jobs.formats import SinkFormat
from jobs.sources import Source, SourceSpec, TableSource
from operators import KINDS, Spec
from operators.choice import Choice

if TYPE_CHECKING:
    from jobs.plan import Plan
    from jobs.report import Summary

_PERCENTAGE = r"^\d+(\.\d+)?%$"


METHOD = "method"
"""The option that tells which of an operator's specs is meant, where it has several."""


def methods(kind: str) -> dict[str, type[Spec]]:
    """An operator's specs by method; empty where it has only one way."""
    specs = KINDS[kind]
    return {get_args(spec.model_fields[METHOD].annotation)[0]: spec for spec in specs} if len(specs) > 1 else {}


def options_type(kind: str) -> Any:
    """The type that pydantic reads an operator's options as."""
    specs = KINDS[kind]
    return Annotated[reduce(or_, specs), Field(discriminator=METHOD)] if len(specs) > 1 else specs[0]


def short_for(kind: str) -> str | None:
    """The option of an operator that text or a list in the place of all options stands for, if there is one."""
    return KINDS[kind][0].short


_A_STEP = Choice(
    Spec,
    lambda: {kind: options_type(kind) for kind in KINDS},
    lambda kind: [METHOD] if methods(kind) else [],
    short_for,
)
"""A step: ``caption``, or ``{caption: {its options}}``, or ``filter: text``, or a spec made in Python."""


class _AnySource:
    """A source: its URI, or ``{uri: ..., format: ...}``, or a table or source made in Python."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_source, handler.generate_schema(SourceSpec))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _or_uri(handler(schema["schema"]))


def _source(value: Any, validated: Callable[[Any], SourceSpec]) -> SourceSpec | Source:
    if isinstance(value, Source):
        return value
    return TableSource(value) if isinstance(value, pa.Table) else validated(_as_mapping(value))


def _told(source: SourceSpec | Source) -> dict[str, Any]:
    if isinstance(source, SourceSpec):
        return source.model_dump(mode="json")
    return {"uri": type(source).__name__, **source.options.model_dump(mode="json")}


def _as_mapping(value: Any) -> Any:
    return {"uri": str(value)} if isinstance(value, str | Path) else value


def _or_uri(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {"anyOf": [{"type": "string"}, schema]}


class SinkSpec(BaseModel):
    """Where rows go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: Annotated[str, Field(min_length=1, description="folder or fsspec URI")]
    part_rows: Annotated[int, Field(ge=1, description="source rows that are committed together")] = 256
    format: Annotated[
        SinkFormat, Field(description="how accepted rows are stored: parquet, lance, webdataset or imagefolder")
    ] = SinkFormat.PARQUET
    tensors: Annotated[bool, Field(description="keep columns of tensors, such as latents, which are large")] = False


class _AnySink:
    """A sink: its URI, or ``{uri: ..., part_rows: ...}``."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_mapping, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _or_uri(handler(schema))


def _no_other_text(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(_PERCENTAGE, value):
        raise ValueError(f"{value!r} is no number of rows; write one, or a percentage such as 1%")
    return value


class Job(BaseModel):
    """A dataset in, steps, a dataset out.

    ``Job(source="photos/", steps=[Caption()], sink="captions/").run()`` does it, :meth:`plan` says what would be done.

    Raises:
        pydantic.ValidationError: a key or value is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="what the job is called")] = "job"
    source: Annotated[
        SourceSpec | Source, _AnySource(), PlainSerializer(_told), Field(description="the dataset to read, or its URI")
    ]
    steps: Annotated[
        tuple[
            Annotated[
                Spec,
                _A_STEP,
                PlainSerializer(lambda step: {step.kind: step.model_dump(mode="json", by_alias=True)}),
            ],
            ...,
        ],
        Field(description="operators, applied in this order"),
    ]
    sink: Annotated[SinkSpec, _AnySink(), Field(description="where rows go, or its URI")]
    seed: Annotated[int, Field(description="all randomness of the job comes from it and the rows' ids")] = 0
    max_rejects: Annotated[
        Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=_PERCENTAGE)],
        BeforeValidator(_no_other_text),
        Field(description="rejected rows, or their share as in 1%, up to which a run counts as done"),
    ] = 0
    resources: Annotated[
        dict[str, Resources], Field(description="where steps run, by step name; `default` is for those not named")
    ] = {}

    @property
    def step_names(self) -> list[str]:
        """Each step's name: its operator, with a number from the second one of its kind on."""
        kinds = [step.kind for step in self.steps]
        return [kind if (nth := kinds[:at].count(kind)) == 0 else f"{kind}-{nth + 1}" for at, kind in enumerate(kinds)]

    def allows(self, rejected: int, rows: int) -> bool:
        """Whether so many rejected rows of so many are within ``max_rejects``."""
        if isinstance(self.max_rejects, int):
            return rejected <= self.max_rejects
        return rejected * 100 <= float(self.max_rejects.removesuffix("%")) * rows

    def plan(self) -> Plan:
        """Look at the source and check every step against the columns that reach it; nothing is started or written.

        Raises:
            UserError: the source can't be read, a column is missing or there twice, a model's folder is not there.
        """
        from jobs.plan import make_plan

        return make_plan(self)

    def run(self, address: str | None = None, mode: str = "run", take_over: bool = False) -> Summary:
        """Do the job on a Ray cluster; after a fault, running it again goes on from there.

        Args:
            address: the cluster, as in ``auto``; without it this process's connection, or a cluster on this machine
                for as long as the job takes.
            mode: ``extend`` keeps rows of another plan that are in the sink and does new source rows by this one,
                ``overwrite`` makes everything anew; ``run`` refuses another plan's rows.
            take_over: don't look whether another run on this sink lives; if it does, it ends.

        Raises:
            UserError: as in :meth:`plan`; or a model can't be had, the cluster can't hold the steps, the sink refuses.
        """
        from jobs.runner import run
        from jobs.sink.ledger import Mode

        return run(self.plan(), address, mode=Mode(mode), take_over=take_over)

    def retry(self, code: str | None = None, limit: int | None = None, address: str | None = None) -> Summary:
        """Try the rows that were rejected again; those that come out are added to the others.

        Args:
            code: only source rows of which a row was rejected with this code.
            limit: at most so many source rows.
            address: as for :meth:`run`.

        Raises:
            UserError: as in :meth:`run`; or the job is not the one that rejected them, or there is no such code.
        """
        from jobs.retry import retry

        return retry(self, code, limit, address)

    @classmethod
    def from_yaml(cls, path: str | Path, changes: Sequence[str] = ()) -> Job:
        """Read a job file.

        Args:
            path: the file.
            changes: ``a.b=c``, as in ``steps.0.caption.num_beams=3`` or ``sink.uri=out``; values are YAML.

        Raises:
            SpecError: with file, line and key of the first mistake.
        """
        from jobs.jobfile import JobFile

        return JobFile.read(path, changes).job
