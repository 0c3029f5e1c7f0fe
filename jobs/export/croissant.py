"""What tells machines of a dataset: Croissant 1.0 metadata, as JSON-LD (https://docs.mlcommons.org/croissant)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from jobs.export.facts import Facts
from jobs.export.features import data_type
from jobs.export.options import Layout
from jobs.export.writing import DATA, File
from jobs.formats import naming
from operators import columns

Json = dict[str, Any]

_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The words that the specification gives; it wants them in every file."""

_ROWS, _PICTURES = "rows", "pictures"
_MIMES = {
    "parquet": "application/x-parquet",
    "tar": "application/x-tar",
    "jsonl": "application/jsonlines",
    "json": "application/json",
}
_PICTURE_MIMES, _PICTURE_PATTERNS = ["image/png", "image/jpeg", "image/webp"], ["*.png", "*.jpg", "*.jpeg", "*.webp"]


def croissant(known: Facts) -> Json:
    """The metadata of a dataset, to lie beside it."""
    files = [file for written in known.written.values() for file in written.files]
    sets, records = _LAYOUTS[known.options.format](known)
    told = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": known.name,
        "description": description(known),
        "datePublished": known.record.get("ended", known.record["updated"]),
        "version": "1.0.0",
        "keywords": ["latentmill", *known.columns.tasks],
        "isLiveDataset": False,
    }
    licence = {"license": known.options.license} if known.options.license else {}
    distribution = [*map(_file, files), *sets]
    return told | licence | {"distribution": distribution, "recordSet": records}


def description(known: Facts) -> str:
    """The dataset in a sentence."""
    steps = ", ".join(step.name for step in known.steps) or "no steps"
    return f"{sum(known.rows.values()):,} rows that the Latentmill job {known.name} made by {steps}."


def _file(file: File) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": _MIMES[file.name.rpartition(".")[2]],
        "sha256": file.sha256,
    }


def _parquet(known: Facts) -> tuple[list[Json], list[Json]]:
    def field(column: pa.Field) -> Json:
        transform = {"transform": {"jsonPath": "bytes"}} if columns.is_image(column.type) else {}
        return {"extract": {"column": column.name}, **transform}

    files = _set("parquet-files", "application/x-parquet", [f"{DATA}/*.parquet"])
    fields = [_field(known, column, files, field(column)) for column in known.schema]
    return [files], [_records(_ROWS, [*_split(known, files, "-"), *fields])]


def _imagefolder(known: Facts) -> tuple[list[Json], list[Json]]:
    files = _set("metadata-files", "application/jsonlines", [f"{DATA}/*/metadata.jsonl"])
    pictures = _set("picture-files", _PICTURE_MIMES, [f"{DATA}/*/{pattern}" for pattern in _PICTURE_PATTERNS])
    fields = [
        _named(known, column, files) if columns.is_image(column.type) else _field(known, column, files, _column(column))
        for column in known.schema
    ]
    return [files, pictures], [_content(pictures), _records(_ROWS, [*_split(known, files, "/"), *fields])]


def _webdataset(known: Facts) -> tuple[list[Json], list[Json]]:
    tars = [file.name for written in known.written.values() for file in written.files]
    samples = _set("samples", "application/json", ["*.json"], tars)
    pictures = _set("picture-files", _PICTURE_MIMES, _PICTURE_PATTERNS, tars)
    plain = [column for column in known.schema if not columns.is_image(column.type)]
    key = _source(samples, {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([^.]*)\."}})
    told = "what the names of a sample's files begin with"
    fields = [{**_named_field(f"{_ROWS}/__key__", "sc:Text", told), "source": key}]
    for column in plain:
        content = {"extract": {"fileProperty": "content"}, "transform": {"jsonPath": f"$.{column.name}"}}
        fields.append(_field(known, column, samples, content))
    return [samples, pictures], [_content(pictures), _records(_ROWS, fields)]


_LAYOUTS = {Layout.PARQUET: _parquet, Layout.IMAGEFOLDER: _imagefolder, Layout.WEBDATASET: _webdataset}


def _set(name: str, kind: str | list[str], includes: list[str], inside: Sequence[str] = ()) -> Json:
    where = {"containedIn": [{"@id": each} for each in inside]} if inside else {}
    told = {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": kind, "includes": includes}
    return told | where


def _records(name: str, fields: list[Json]) -> Json:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _content(pictures: Json) -> Json:
    """The pictures as records, by the names of their files."""
    name = _source(pictures, {"extract": {"fileProperty": "filename"}})
    content = _source(pictures, {"extract": {"fileProperty": "content"}})
    fields = [
        {**_named_field(f"{_PICTURES}/filename", "sc:Text", "name of the file"), "source": name},
        {**_named_field(f"{_PICTURES}/content", "sc:ImageObject", "the picture"), "source": content},
    ]
    return _records(_PICTURES, fields) | {"key": {"@id": f"{_PICTURES}/filename"}}


def _field(known: Facts, column: pa.Field, files: Json, taken: Json) -> Json:
    told = _named_field(f"{_ROWS}/{column.name}", data_type(column), about(known, column.name))
    repeated = {"repeated": True} if pa.types.is_list(column.type) else {}
    return told | repeated | {"source": _source(files, taken)}


def _named(known: Facts, column: pa.Field, files: Json) -> Json:
    """A column that names the files of its pictures."""
    name = naming.file_name(column.name)
    told = _named_field(f"{_ROWS}/{name}", "sc:Text", f"{about(known, column.name)}: its file")
    references = {"references": {"field": {"@id": f"{_PICTURES}/filename"}}}
    return told | {"source": _source(files, {"extract": {"column": name}})} | references


def _split(known: Facts, files: Json, mark: str) -> list[Json]:
    """The split as a field, which comes before a mark in the names of files; nothing if there is such a column."""
    if "split" in known.schema.names:
        return []
    told = f"the split: {' or '.join(known.rows)}"
    taken = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": rf".*{DATA}/(\w+){mark}.*"}}
    return [{**_named_field(f"{_ROWS}/split", "sc:Text", told), "source": _source(files, taken)}]


def _named_field(name: str, kind: str, told: str) -> Json:
    return {"@type": "cr:Field", "@id": name, "name": name, "description": told, "dataType": kind}


def _source(files: Json, taken: Json) -> Json:
    return {"fileSet": {"@id": files["@id"]}, **taken}


def _column(column: pa.Field) -> Json:
    return {"extract": {"column": column.name}}


def about(known: Facts, name: str) -> str:
    """What a column holds, in words."""
    if name in known.columns.roles and name not in known.options.columns:
        return known.columns.roles[name].about
    return _LINEAGE.get(name) or f"the column {known.options.columns.get(name, name)} of the job"


_LINEAGE = {
    columns.ROW_ID: "the row's id",
    columns.SOURCE_ID: "the id of the source row that the row comes from",
    columns.SOURCE_URI: "the source that it is an id in",
    columns.CONTENT_HASH: "BLAKE2b-128 of the source row's values",
    columns.RUN_ID: "the run that made the row",
    columns.PLAN: "fingerprint of the plan that made the row",
    columns.SEED: "the row's seed, which all its noise comes from",
}
