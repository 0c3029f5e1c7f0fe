"""One of several specs, written as ``{kind: its options}``, or as the bare kind where no option must be given.

Where a kind has an option that it is short for, text or a list may stand for that: ``filter: clip_direction > 0.2``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.annotated_handlers import GetCoreSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_MADE = "made in Python"


@dataclass(frozen=True)
class Choice:
    """How pydantic reads one of several specs.

    Attributes:
        base: that those made in Python are instances of.
        kinds: what to read the options as, by the word that is the key.
        required: options that must be given for such a word; where there are some, it can't stand alone.
        short: the option that text or a list in the place of all options stands for; none unless given.
    """

    base: type[BaseModel]
    kinds: Callable[[], Mapping[str, Any]]
    required: Callable[[str], list[str]]
    short: Callable[[str], str | None] = lambda _: None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A tagged union, so that a mistake is told at its key."""
        made = core_schema.is_instance_schema(self.base)
        written = {
            kind: core_schema.no_info_before_validator_function(
                partial(_options, short=self.short(kind)), handler.generate_schema(options)
            )
            for kind, options in self.kinds().items()
        }
        return core_schema.tagged_union_schema({_MADE: made, **written}, self._kind)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The forms that may be written."""
        forms = {kind: handler(choice) for kind, choice in schema["choices"].items() if kind != _MADE}
        mappings = [
            {
                "type": "object",
                "properties": {
                    kind: form | {"required": required}
                    if (required := self.required(kind))
                    else {"anyOf": [form, *self._shorts(kind, form, handler), {"type": "null"}]}
                },
                "required": [kind],
                "additionalProperties": False,
            }
            for kind, form in forms.items()
        ]
        return {"oneOf": [{"enum": [kind for kind in forms if not self.required(kind)]}, *mappings]}

    def _shorts(self, kind: str, form: JsonSchemaValue, handler: GetJsonSchemaHandler) -> list[JsonSchemaValue]:
        """What may stand for all options: whatever the one may be that it is short for."""
        short = self.short(kind)
        if short is None:
            return []
        option = handler.resolve_ref_schema(form)["properties"][short]
        return [each for each in option.get("anyOf", [option]) if each.get("type") != "null"]

    def _kind(self, value: Any) -> Any:
        if isinstance(value, self.base):
            return _MADE
        if isinstance(value, Mapping) and len(value) == 1:
            return next(iter(value))
        return value if isinstance(value, str) else None


def _options(value: Any, short: str | None) -> Any:
    if isinstance(value, str):
        return {}
    (options,) = value.values()
    if short is not None and isinstance(options, str | list):
        return {short: options}
    return {} if options is None else options
