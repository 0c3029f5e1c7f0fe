"""The job file: what to read, what to do, where to write. Everything is checked before anything is opened."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema

from cluster.resources import Actors, Resources
from jobs.sources import Source, SourceSpec, TableSource
from operators import KINDS, Column, Spec
from operators.errors import SpecError


def _step(value: Any) -> Any:
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError("a step is one operator with its options, as in `caption: {num_beams: 3}`")
    (kind, options), *_ = value.items()
    if kind not in KINDS:
        raise ValueError(f"there is no operator {kind!r}{_meant(str(kind), KINDS)}")
    return KINDS[kind].model_validate(options or {})


def _source(value: Any) -> SourceSpec | Source:
    if isinstance(value, SourceSpec | Source):
        return value
    if isinstance(value, pa.Table):
        return TableSource(value)
    return SourceSpec.model_validate({"uri": str(value)} if isinstance(value, str | Path) else value)


def _told(source: SourceSpec | Source) -> dict[str, Any]:
    if isinstance(source, SourceSpec):
        return source.model_dump(mode="json")
    return {"uri": type(source).__name__, **source.options.model_dump(mode="json")}


def _sink(value: Any) -> Any:
    return {"uri": str(value)} if isinstance(value, str | Path) else value


def _percentage(value: Any) -> Any:
    if isinstance(value, str) and value.endswith("%"):
        return value
    if isinstance(value, str):
        raise ValueError("give a number of rows, or a percentage such as '1%'")
    return value


class SinkSpec(BaseModel):
    """Where rows go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: Annotated[str, Field(min_length=1, description="folder or fsspec URI")]
    part_rows: Annotated[int, Field(ge=1, description="source rows that are committed together")] = 256


Step = Annotated[
    Spec,
    BeforeValidator(_step),
    PlainSerializer(lambda step: {step.kind: step.model_dump(mode="json")}),
    WithJsonSchema(
        {
            "oneOf": [
                {"enum": list(KINDS)},
                *(
                    {
                        "type": "object",
                        "properties": {kind: spec.model_json_schema()},
                        "required": [kind],
                        "additionalProperties": False,
                    }
                    for kind, spec in KINDS.items()
                ),
            ]
        }
    ),
]


AnySource = Annotated[
    SourceSpec | Source,
    PlainValidator(_source),
    PlainSerializer(_told),
    WithJsonSchema({"anyOf": [{"type": "string"}, SourceSpec.model_json_schema()]}),
]


class Job(BaseModel):
    """A dataset in, steps, a dataset out."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="what the job is called")] = "job"
    source: AnySource
    steps: Annotated[tuple[Step, ...], Field(description="operators, applied in this order")]
    sink: Annotated[SinkSpec, BeforeValidator(_sink)]
    seed: Annotated[int, Field(description="all randomness of the job comes from it and the rows' ids")] = 0
    max_rejects: Annotated[
        Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^\d+(\.\d+)?%$")],
        BeforeValidator(_percentage),
        Field(description="rejected rows, or their share, up to which a run counts as done"),
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

    @classmethod
    def from_yaml(cls, path: str | Path, changes: Sequence[str] = ()) -> Job:
        """Read a job file.

        Args:
            path: the file.
            changes: ``a.b=c``, as in ``steps.0.caption.num_beams=3`` or ``sink.uri=out``; values are YAML.

        Raises:
            SpecError: with file, line and key of the first mistake.
        """
        try:
            text = Path(path).read_text()
        except OSError as error:
            raise SpecError(f"can't read the job file: {error.strerror}", str(path)) from error
        try:
            content, tree = yaml.safe_load(text), yaml.compose(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SpecError(f"this is not YAML: {error.problem}", f"{path}:{line}") from error
        if not isinstance(content, dict):
            raise SpecError("a job file is a mapping with `source`, `steps` and `sink`", str(path))
        for change in changes:
            _change(content, change)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise explained(error, str(path), tree) from error


def explained(error: ValidationError, where: str, tree: yaml.Node | None = None) -> SpecError:
    """One line for the first mistake that pydantic found: what, where, and what to write instead."""
    first, title = error.errors()[0], error.title
    path = list(first["loc"])
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, ValidationError):
        path += [next(iter(first["input"]))] if path[0] == "steps" else []
        first, title = inner.errors()[0], inner.title
        path += first["loc"]
    keys = path
    if first["type"] == "extra_forbidden":
        nested = _NESTED.get(str(path[0])) if title == Job.__name__ else None
        message = f"there is no such option{_meant(str(path[-1]), (nested or _MODELS[title]).model_fields)}"
    elif first["type"] == "missing":
        message = "this must be given"
    else:
        keys = [key for key in path if isinstance(key, int) or key in _KEYS or key in path[:2]]
        message = str(first.get("ctx", {}).get("error", first["msg"]))
    line = _line_of(tree, keys)
    place = f"{where}:{line}" if line else where
    return SpecError(message, f"{place}: {'.'.join(map(str, keys))}" if keys else place)


_NESTED: dict[str, type[BaseModel]] = {"sink": SinkSpec, "resources": Resources}
_MODELS: dict[str, type[BaseModel]] = {
    model.__name__: model for model in (Job, SourceSpec, Actors, Column, *_NESTED.values(), *KINDS.values())
}
_KEYS = frozenset(name for model in _MODELS.values() for name in model.model_fields) | frozenset(KINDS)
"""Words that stand in job files; other parts of pydantic's paths name branches of a union."""


def _line_of(node: yaml.Node | None, keys: Sequence[int | str]) -> int | None:
    """The line, from 1, of the deepest of the keys that is there."""
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [(name, value) for name, value in node.value if name.value == str(key)]
            if not found:
                break
            name, node = found[0]
            line = name.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


def _change(content: dict[str, Any], change: str) -> None:
    """Set one value of a job file's content, as ``a.b=c`` says."""
    path, equals, value = change.partition("=")
    *parents, last = path.split(".")
    if not equals or not last:
        raise SpecError("write it as a.b=value", f"--set {change}")
    place: Any = content
    for key in parents:
        place = _inside(place, key, change)
    if isinstance(place, list):
        _inside(place, last, change)
        place[int(last)] = yaml.safe_load(value)
    else:
        place[last] = yaml.safe_load(value)


def _inside(place: Any, key: str, change: str) -> Any:
    if isinstance(place, dict):
        if key in ("source", "sink") and isinstance(place.get(key), str):
            place[key] = {"uri": place[key]}
        return place.setdefault(key, {})
    if isinstance(place, list) and key.isdigit() and int(key) < len(place):
        if isinstance(place[int(key)], str):
            place[int(key)] = {place[int(key)]: {}}
        return place[int(key)]
    raise SpecError(f"there is no {key!r} to set something in", f"--set {change}")


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
