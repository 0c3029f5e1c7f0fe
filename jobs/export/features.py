"""The types of columns as the Hugging Face hub and Croissant write them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from operators import columns

_CROISSANT = (
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_floating, "sc:Float"),
    (pa.types.is_temporal, "sc:DateTime"),
)


def yaml_features(schema: pa.Schema) -> list[dict[str, Any]]:
    """The columns as ``dataset_info.features`` of a dataset card has them."""
    return [{"name": field.name, **_feature(field)} for field in schema]


def data_type(field: pa.Field) -> str:
    """A column's type in Croissant's words; what has none is text."""
    told = columns.feature(field)
    return f"sc:{told}Object" if told else next((n for fits, n in _CROISSANT if fits(field.type)), "sc:Text")


def _feature(field: pa.Field) -> dict[str, Any]:
    kind, told = field.type, columns.feature(field)
    if told:
        return {"dtype": told.lower()}
    if pa.types.is_struct(kind):
        return {"struct": [{"name": inner.name, **_feature(inner)} for inner in kind]}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _feature(kind.value_field)
        return {"list": inner["dtype"] if inner.keys() == {"dtype"} else inner.get("struct", inner)}
    return {"dtype": _VALUES.get(str(kind), str(kind))}


_VALUES = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""Types that Arrow and the hub call differently."""
