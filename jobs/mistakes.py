"""What pydantic found wrong in a job, in words: the first mistake, its keys, and what to write instead."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from jobs.spec import METHOD, Job, methods
from operators import KINDS, Column
from operators.controls import CONTROLS
from operators.near import meant

Key = str | int
Schema = dict[str, Any]

_WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "enum": "{expected}",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "{le} or less",
    "list_type": "a list",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_short": "at least one character",
    "string_type": "text, in quotes if need be",
    "too_short": "at least one",
    "tuple_type": "a list",
}
"""What to write instead, by pydantic's type of error."""

_CHOICES: dict[Key, tuple[str, Iterable[str], str]] = {
    "steps": ("operator", KINDS, "a step is one operator with its options, as in `caption: {num_beams: 3}`"),
    "controls": ("control", CONTROLS, "a control is one word with its options, as in `sag: {scale: 0.5}`"),
}
"""Lists of which each item is one of several: what an item is called, those that there are, and how to write one."""


def first_mistake(error: ValidationError, content: Any) -> tuple[list[Key], str]:
    """The keys in ``content`` that lead to the mistake most worth telling, and a line about it."""
    found = [(_keys(fault, content), fault) for fault in error.errors()]
    first = found[0][0]
    here = [(keys, fault) for keys, fault in found if keys[: len(first)] == first]
    # A misspelt key explains what else is amiss; a branch of a union that got further is the one that was meant.
    misspelt = [(keys, fault) for keys, fault in found if _is_misspelt(fault, keys)]
    keys, fault = max(misspelt or here, key=lambda item: (len(item[0]), item[1]["type"] not in _WANTED))
    wanted = [_wanted(fault, keys) for other, fault in here if other == keys]
    return keys, _message(fault, keys) or f"{_shown(fault['input'])} won't do; write {' or '.join(wanted)}"


def _message(fault: Any, keys: Sequence[Key]) -> str | None:
    match fault["type"]:
        case "extra_forbidden":
            return _misspelt(fault["loc"], keys)
        case "missing":
            about = next((schema["description"] for schema in _at(keys) if "description" in schema), "")
            return f"this must be given: {about}" if about else "this must be given"
        case "union_tag_invalid":
            what, known, _ = _choice(keys)
            return f"there is no {what} {fault['ctx']['tag']!r}{meant(fault['ctx']['tag'], known)}"
        case "union_tag_not_found":
            return _choice([*keys, *[METHOD] * isinstance(keys[-1], str)])[2]
        case "value_error":
            return str(fault["ctx"]["error"])
    return None


def _choice(keys: Sequence[Key]) -> tuple[str, Iterable[str], str]:
    """What is to be chosen at a place, from which words, and how to write it."""
    above, last = keys[-2:]
    if last != METHOD:
        return _CHOICES[above]
    known = methods(str(above))
    return f"{above} method", known, f"give a `method`: {', '.join(known)}"


def _is_misspelt(fault: Any, keys: Sequence[Key]) -> bool:
    """Whether an option is not there in any form that is allowed at its place, or not with the method."""
    if fault["type"] != "extra_forbidden":
        return False
    return _method(fault["loc"]) is not None or keys[-1] not in _options(keys[:-1])


def _misspelt(path: Sequence[Key], keys: Sequence[Key]) -> str:
    """About an option that is not there, or only with another method; ``path`` names the branches of unions too."""
    word, known, method = str(keys[-1]), _options(keys[:-1]), _method(path)
    if method is not None:
        specs = methods(str(path[2]))
        by_method = {name: list(spec.model_json_schema()["properties"]) for name, spec in specs.items()}
        others = [name for name, options in by_method.items() if word in options]
        if others:
            return f"option {word!r} belongs to {' and '.join(others)}, not to {method}"
        known = by_method[method]
    return f"there is no option {word!r}{meant(word, known)}"


def _method(path: Sequence[Key]) -> str | None:
    """The method whose option a path leads to, where the operator has several."""
    match path:
        case ("steps", int(), str(kind), str(method), _) if method in methods(kind):
            return method
    return None


def _wanted(fault: Any, keys: Sequence[Key]) -> str:
    context = fault.get("ctx", {})
    if fault["type"] not in ("model_type", "model_attributes_type"):
        return _WANTED[fault["type"]].format(**context) if fault["type"] in _WANTED else str(fault["msg"])
    wanted = context.get("class_name")
    if wanted == Column.__name__:
        return "{column: NAME}"
    return f"a mapping with {' or '.join(_options(keys, wanted))}"


def _keys(fault: Any, content: Any) -> list[Key]:
    """The keys of an error's path that stand in the content; the others name branches of unions."""
    keys: list[Key] = []
    path, place = fault["loc"], content
    for at, key in enumerate(path):
        if (isinstance(place, dict) and key in place) or (isinstance(place, list) and isinstance(key, int)):
            place = place[key]
        elif place == key:
            place = None
        elif fault["type"] != "missing" or at < len(path) - 1:
            continue
        keys.append(key)
    if fault["type"] == "union_tag_invalid" and isinstance(place, dict) and METHOD in place:
        keys.append(METHOD)
    return keys


def _options(keys: Sequence[Key], of: str | None = None) -> list[str]:
    """The options that there are at a place of a job, in any form that is allowed there or in the one called so."""
    forms = [schema for schema in _at(keys) if of in (None, schema.get("title"))]
    return list(dict.fromkeys(name for schema in forms for name in schema.get("properties", {})))


def _at(keys: Sequence[Key]) -> list[Schema]:
    """What the JSON Schema of jobs says of a place, one schema for each form that is allowed there."""
    whole = Job.model_json_schema()
    level = [whole]
    for key in keys:
        below = [_below(schema, key) for schema in level]
        level = [form for schema in below if schema is not None for form in _forms(schema, whole["$defs"])]
    return level


def _below(schema: Schema, key: Key) -> Schema | None:
    if isinstance(key, int):
        found = schema.get("items")
    else:
        found = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else None


def _forms(schema: Schema, definitions: dict[str, Schema]) -> Iterator[Schema]:
    yield schema
    for form in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from _forms(form, definitions)
    if "$ref" in schema:
        yield from _forms(definitions[schema["$ref"].rpartition("/")[2]], definitions)


def _shown(value: Any) -> str:
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
