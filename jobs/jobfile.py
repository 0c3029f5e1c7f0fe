"""The job file: YAML into a job, and every mistake told by file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jobs.mistakes import Key, first_mistake
from jobs.plan import Plan, make_plan
from jobs.secrecy import redacted, refuse_credentials
from jobs.spec import Job, short_for
from operators import KINDS
from operators.errors import ResourceError, SinkError, SourceError, SpecError, UserError

_SECTIONS: dict[type[UserError], str] = {SourceError: "source", SinkError: "sink", ResourceError: "resources"}
"""The key of a job file that an error is about, where the error itself doesn't name one."""


@dataclass(frozen=True)
class Change:
    """A value that stands in for the job file's: ``a.b=c``."""

    text: str
    keys: tuple[Key, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> Change:
        """Read ``a.b=c``; the value is YAML.

        Raises:
            SpecError: it is not of this form.
        """
        path, equals, value = text.partition("=")
        keys = path.split(".")
        if not equals or not all(keys):
            raise SpecError("write it as a.b=value, as in sink.uri=out", f"--set {text}")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SpecError(f"{value!r} is not a YAML value; quote it", f"--set {text}") from error
        return cls(text, tuple(int(key) if key.isdigit() else key for key in keys), parsed)

    def apply(self, content: dict[str, Any]) -> None:
        """Change a job file's content.

        Raises:
            SpecError: there is nothing at that place that could hold a value.
        """
        *parents, last = self.keys
        place: Any = content
        key: Any
        for key, below in zip(parents, self.keys[1:], strict=True):
            self._refuse_nowhere(place, key)
            place[key] = _opened(key, place[key] if isinstance(place, list) else place.get(key), below)
            place = place[key]
        self._refuse_nowhere(place, last)
        place[last] = self.value

    def _refuse_nowhere(self, place: Any, key: Key) -> None:
        there = isinstance(place, dict) or (isinstance(place, list) and isinstance(key, int) and key < len(place))
        if not there:
            raise SpecError(f"there is no {str(key)!r} to set something in", f"--set {self.text}")


def _opened(key: Key, value: Any, below: Key) -> Any:
    """What stands at a key, as a mapping or list if it is one written short: ``source: uri``, ``- caption``.

    As in ``filter: text``, too.
    """
    if key in ("source", "sink") and isinstance(value, str):
        return {"uri": value}
    if value is None or value == below:
        return {} if value is None else {value: {}}
    if key in KINDS and isinstance(value, str | list) and isinstance(below, str):
        return {short_for(str(key)): value}
    return value


@dataclass(frozen=True)
class JobFile:
    """A job and where every key of it stands."""

    job: Job
    text: _Text

    @classmethod
    def read(cls, path: str | Path, changes: Sequence[str] = ()) -> JobFile:
        """Read and check a job file; arguments and errors as in :meth:`Job.from_yaml`."""
        text, content = _parsed(str(path), [Change.parse(change) for change in changes])
        try:
            file = cls(Job.model_validate(content, by_alias=True, by_name=False), text)
        except ValidationError as error:
            keys, message = first_mistake(error, content)
            raise SpecError(redacted(message), text.place(keys)) from error
        with file.located():
            refuse_credentials(file.job.model_dump(mode="json"))
        return file

    def plan(self) -> Plan:
        """Plan the job.

        Raises:
            UserError: with file, line and key.
        """
        with self.located():
            return make_plan(self.job)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Put file, line and key before what a user's error says."""
        try:
            yield
        except UserError as error:
            keys: list[Key] = [int(key) if key.isdigit() else key for key in error.where.split(".")]
            if keys[0] in Job.model_fields:
                raise type(error)(error.message, self.text.place(keys)) from error
            section = _SECTIONS.get(type(error))
            raise type(error)(str(error), self.text.place([section] if section else [])) from error


@dataclass(frozen=True)
class _Text:
    path: str
    tree: yaml.Node
    changes: list[Change]

    def place(self, keys: Sequence[Key]) -> str:
        """Where a key is set: in a line of the file, or by a change."""
        dotted = ".".join(map(str, keys))
        for change in reversed(self.changes):
            if tuple(keys[: len(change.keys)]) == change.keys:
                return f"--set {redacted(change.text)}: {dotted}"
        place = f"{self.path}:{_line_of(self.tree, keys)}"
        return f"{place}: {dotted}" if keys else place


def _parsed(path: str, changes: list[Change]) -> tuple[_Text, dict[str, Any]]:
    try:
        text = Path(path).read_text("utf-8")
        content, tree = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise SpecError(f"can't read the job file: {error.strerror}; check its path", path) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"this is not YAML: {error.problem or error.context}", f"{path}:{line}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError(f"this is not YAML: {str(error).splitlines()[0]}", path) from error
    if not isinstance(content, dict) or tree is None:
        raise SpecError("a job file is a mapping with `source`, `steps` and `sink`", f"{path}:1")
    _refuse_doubles(tree, path)
    for change in changes:
        change.apply(content)
    return _Text(path, tree, changes), content


def _refuse_doubles(node: yaml.Node, path: str) -> None:
    """Refuse a key that stands twice in a mapping: YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise SpecError(f"{key.value!r} is given twice; leave one out", f"{path}:{key.start_mark.line + 1}")
            seen.add(key.value)
            _refuse_doubles(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_doubles(value, path)


def _line_of(node: yaml.Node, keys: Sequence[Key]) -> int:
    """The line, from 1, of the deepest of the keys that is there; 1 where none is."""
    line = 1
    for key in keys:
        below: list[tuple[yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            below = [(name, value) for name, value in node.value if name.value == str(key)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            below = [(value, value) for value in node.value[key : key + 1]]
        if not below:
            break
        name, node = below[0]
        line = name.start_mark.line + 1
    return line
