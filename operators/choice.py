"""One of several specs, written as ``{kind: its options}``, or as the bare kind where no option must be given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
    """

    base: type[BaseModel]
    kinds: Callable[[], Mapping[str, Any]]
    required: Callable[[str], list[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A tagged union, so that a mistake is told at its key."""
        made = core_schema.is_instance_schema(self.base)
        written = {
            kind: core_schema.no_info_before_validator_function(_options, handler.generate_schema(options))
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
                    else {"anyOf": [form, {"type": "null"}]}
                },
                "required": [kind],
                "additionalProperties": False,
            }
            for kind, form in forms.items()
        ]
        return {"oneOf": [{"enum": [kind for kind in forms if not self.required(kind)]}, *mappings]}

    def _kind(self, value: Any) -> Any:
        if isinstance(value, self.base):
            return _MADE
        if isinstance(value, Mapping) and len(value) == 1:
            return next(iter(value))
        return value if isinstance(value, str) else None


def _options(value: Any) -> Any:
    if isinstance(value, str):
        return {}
    (options,) = value.values()
    return {} if options is None else options
