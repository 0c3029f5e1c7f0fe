"""Events held against OpenLineage's specification, and a server that takes them.

No package carries OpenLineage's JSON Schema, but the classes of its Python library are generated from it: which keys
there are and must be, and of what type. The schema is built again from them; which facet an entry is, its `_schemaURL`
says. What the classes don't tell is written down here after the specification: formats, and under which key each facet
stands. Where the published files lie beside the checkout, events are held against these too.
"""

from __future__ import annotations

import json
import re
import threading
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attr
import jsonschema
from openlineage.client import facet_v2
from openlineage.client.event_v2 import RunEvent
from referencing import Registry, Resource

ROOT = Path(__file__).parent.parent
OURS = json.loads((ROOT / "docs" / "openlineage-facets.json").read_text())
PUBLISHED = ROOT.parent / "shared" / "openlineage"

KEYS = {
    "columnLineage": "ColumnLineageDatasetFacet",
    "dataSource": "DatasourceDatasetFacet",
    "documentation": "DocumentationJobFacet",
    "errorMessage": "ErrorMessageRunFacet",
    "inputStatistics": "InputStatisticsInputDatasetFacet",
    "jobDependencies": "JobDependenciesRunFacet",
    "jobType": "JobTypeJobFacet",
    "lifecycleStateChange": "LifecycleStateChangeDatasetFacet",
    "outputStatistics": "OutputStatisticsOutputDatasetFacet",
    "processing_engine": "ProcessingEngineRunFacet",
    "schema": "SchemaDatasetFacet",
    "version": "DatasetVersionDatasetFacet",
    "latentmill_models": "ModelsRunFacet",
    "latentmill_outcomes": "OutcomesOutputDatasetFacet",
    "latentmill_run": "LatentmillRunFacet",
}
"""Under which key a facet stands."""

_ALWAYS = {"_producer", "_schemaURL", "producer", "schemaURL", "eventTime", "eventType"}
_FORMATS = dict.fromkeys(("_producer", "_schemaURL", "producer", "schemaURL", "uri"), "uri")
_FORMATS |= {"runId": "uuid", "eventTime": "date-time"}
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}

_CHECKER = jsonschema.FormatChecker(["uuid"])


@_CHECKER.checks("date-time")
def _is_moment(value: Any) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value))


@_CHECKER.checks("uri")
def _is_uri(value: Any) -> bool:
    return bool(urlsplit(value).scheme) and not re.search(r"[\s<>\"{}|\\^`]", value)


def check(event: dict[str, Any]) -> None:
    """See that an event and its facets are as the specification wants them."""
    _valid(event, schema_of(RunEvent))
    for key, facet in facets(event):
        url, _, name = facet["_schemaURL"].partition("#/$defs/")
        assert name == KEYS[key]
        if url == OURS["$id"]:
            _valid(facet, {**OURS, "$ref": f"#/$defs/{name}"})
        else:
            _valid(facet, schema_of(_classes()[facet["_schemaURL"]]))


def check_published(event: dict[str, Any]) -> None:
    """The same by the published files."""
    registry = _published(PUBLISHED)
    _valid(event, {"$ref": event["schemaURL"]}, registry)
    for key, facet in facets(event):
        if not key.startswith("latentmill_"):
            _valid(facet, {"$ref": facet["_schemaURL"]}, registry)
            file = facet["_schemaURL"].partition("#")[0]
            assert key in registry.contents(file)["properties"]


def facets(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All facets of an event; those that input and output both have, twice."""
    datasets = [("input", one) for one in event["inputs"]] + [("output", one) for one in event["outputs"]]
    holders = [event["run"]["facets"], event["job"]["facets"]]
    holders += [one[key] for kind, one in datasets for key in ("facets", f"{kind}Facets")]
    for holder in holders:
        yield from holder.items()


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of one of the library's classes."""
    definitions: dict[str, Any] = {}
    return {**_typed(kind, definitions), "$defs": definitions}


def _typed(kind: Any, definitions: dict[str, Any], name: str = "") -> dict[str, Any]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (kind,) = (each for each in inner if each is not type(None))
        return _typed(kind, definitions, name)
    if origin is list:
        return {"type": "array", "items": _typed(inner[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _typed(inner[1], definitions)}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]} | ({"format": _FORMATS[name]} if name in _FORMATS else {})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [each.value for each in kind]}
    if attr.has(kind):
        key = f"{kind.__module__}.{kind.__name__}"
        if key not in definitions:
            definitions[key] = {}
            definitions[key] |= _object(kind, definitions)
        return {"$ref": f"#/$defs/{key}"}
    assert kind is Any, kind
    return {}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    known = {each.name: _typed(hints[each.name], definitions, each.name) for each in attr.fields(kind)}
    needed = [each.name for each in attr.fields(kind) if each.default is attr.NOTHING or each.name in _ALWAYS]
    closed = {} if hasattr(kind, "with_additional_properties") else {"additionalProperties": False}
    return {"type": "object", "properties": known, "required": needed} | closed


@cache
def _classes() -> dict[str, type]:
    """The library's facets by the URLs of their schemas."""
    modules = [each for each in vars(facet_v2).values() if isinstance(each, types.ModuleType)]
    found = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind._get_schema(): kind for kind in found if issubclass(kind, facet_v2.BaseFacet)}


@cache
def _published(folder: Path) -> Any:
    read = [json.loads(path.read_text()) for path in folder.rglob("*.json")]
    return Registry().with_resources((each["$id"], Resource.from_contents(each)) for each in read if "$id" in each)


def _valid(value: Any, schema: dict[str, Any], registry: Any = None) -> None:
    jsonschema.Draft202012Validator(schema, format_checker=_CHECKER, registry=registry or Registry()).validate(value)


@dataclass
class Receiver:
    """A server that takes events, as long as it is there."""

    url: str
    events: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and authorization of everything that was asked."""
    answers: list[int] = field(default_factory=list)
    """What it says to the next requests; after these, that it has taken them."""
    released: threading.Event = field(default_factory=threading.Event)
    """Nothing is answered before it is set."""

    @property
    def states(self) -> list[tuple[str, str]]:
        """Runs, by the first letters of their ids, and what became of them, one after the other."""
        return [(event["run"]["runId"], event["eventType"]) for event in self.events]


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            there.released.wait()
            there.requests.append((self.path, self.headers["Authorization"]))
            status = there.answers.pop(0) if there.answers else 201
            if status < 300:
                there.events.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        there = Receiver(f"http://127.0.0.1:{server.server_port}")
        there.released.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield there
        there.released.set()
        server.shutdown()
