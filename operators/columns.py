"""The row contract: which columns every row carries, and the Arrow types that steps exchange."""

from __future__ import annotations

import json

import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""An encoded picture: the Hugging Face ``Image`` feature. ``path`` is its name where it came from, or null."""

AUDIO = VIDEO = IMAGE
"""An encoded recording: the Hugging Face ``Audio`` or ``Video`` feature, told from pictures by :data:`FEATURE`."""

TEXT = pa.string()

TENSOR = pa.struct([("data", pa.list_(pa.float16())), ("shape", pa.list_(pa.int32()))])
"""Latents: values in half precision, row-major, and their shape. Rows may differ in shape, as their pictures do."""

ROW_ID = "row_id"
"""The row's own id: its source row's, and one segment more for every 1 to N step it went through."""
SOURCE_ID = "source_id"
"""The id of the source row that the row comes from."""
SOURCE_URI = "source_uri"
"""The source that ``source_id`` is an id in."""
CONTENT_HASH = "content_hash"
"""BLAKE2b-128 of the source row's values, in hexadecimal."""
RUN_ID = "run_id"
PLAN = "plan_fingerprint"
"""Fingerprint of the plan that made the row."""
SEED = "row_seed"
"""63-bit seed of the row, from the job's seed and the row's id; steps derive theirs from it."""
ERROR = "_error"
"""Why the row failed, null where it did not; only rejects and tables in flight have it."""
KEPT = "_kept"
"""False where a filter left the row out; only tables in flight have it."""

VERSION = "_version"
"""A number that is another one when the source row may have changed; only tables in flight have it."""

FILTERED = "_filtered"
"""Which step left the row out, and why; null where it was kept. Only filtered rows and tables in flight have it."""

FILTERED_TYPE = pa.struct([("step", pa.string()), ("reason", pa.string())])

ERROR_TYPE = pa.struct(
    [("step", pa.string()), ("code", pa.string()), ("message", pa.string()), ("attempt", pa.int32())]
)

LINEAGE = pa.schema(
    [
        (ROW_ID, pa.string()),
        (SOURCE_ID, pa.string()),
        (SOURCE_URI, pa.string()),
        (CONTENT_HASH, pa.string()),
        (RUN_ID, pa.string()),
        (PLAN, pa.string()),
        (SEED, pa.int64()),
    ]
)
"""Columns that every written row ends with."""

RESERVED = frozenset([*LINEAGE.names, ERROR, KEPT, FILTERED, VERSION])
"""Names that a source's columns can't have."""

FEATURE = "feature"
"""Key in a field's metadata of the Hugging Face feature that it is, where that is not ``Image``."""

_FEATURES = b"huggingface"


def is_image(kind: pa.DataType) -> bool:
    """Whether a column of this type holds encoded pictures, or recordings, which :func:`feature` tells apart."""
    return bool(kind == IMAGE)


def feature(field: pa.Field) -> str | None:
    """The Hugging Face feature of a column of encoded files: ``Image``, ``Audio`` or ``Video``; None for others."""
    told: bytes = (field.metadata or {}).get(FEATURE.encode(), b"Image")
    return told.decode() if is_image(field.type) else None


def is_tensor(kind: pa.DataType) -> bool:
    """Whether a column of this type holds tensors."""
    return bool(kind == TENSOR)


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with the metadata that makes ``datasets`` decode its pictures and recordings."""
    features = {field.name: {"_type": feature(field)} for field in schema if is_image(field.type)}
    if not features:
        return schema
    metadata = {**(schema.metadata or {}), _FEATURES: json.dumps({"info": {"features": features}}).encode()}
    return schema.with_metadata(metadata)
