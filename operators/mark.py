"""``mark``: say in pictures' files, and in their pixels, that a model made them, and sign that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

import pyarrow as pa
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from operators import columns
from operators.base import Column, Kind, Operator, Produced, Spec, column_options, values
from operators.errors import ImageMissingError, RowError, ValueInvalidError, ValueMissingError
from operators.images import MAX_PIXELS, Encoding, decode, encode
from operators.marks import xmp
from operators.marks.credentials import Credentials
from operators.marks.kept import kept
from operators.marks.metadata import Metadata, has_credentials, metadata, mime_type, with_xmp
from operators.marks.signing import read_chain, read_key
from operators.marks.watermark import read_watermark, with_watermark
from operators.marks.xmp import STALE, SourceType, fitting, packet, said

_PROPERTIES = {
    "system": xmp.SYSTEM,
    "system_version": xmp.SYSTEM_VERSION,
    "prompt": xmp.PROMPT,
    "prompt_writer": xmp.PROMPT_WRITER,
}


class Made(StrEnum):
    """How a picture came to be."""

    GENERATED = "generated"
    EDITED = "edited"


_SOURCE_TYPES = {Made.GENERATED: SourceType.GENERATED, Made.EDITED: SourceType.EDITED}


def _no_key(text: str) -> str:
    if "-----" in text or "\n" in text:
        raise ValueError("this is the path of a file, never what is in it")
    return text


def _is_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("this is the name of an environment variable, never what is in it")
    return text


PathOfFile = Annotated[str, Field(min_length=1), AfterValidator(_no_key)]


class Mark(Spec):
    """Mark pictures as made by a model: in XMP, in a watermark, and in signed Content Credentials."""

    # A key that was given in place of its path is not shown.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: ClassVar[str] = "mark"

    image: Annotated[str, Field(min_length=1)] = Field("image", description="column of pictures")
    output: Annotated[str, Field(min_length=1)] = Field("marked_image", description="column to add")
    made: Made | None = Field(
        None, description="how the pictures came to be: `generated` or `edited`; as their own XMP says unless given"
    )
    system: str | Column | None = Field(None, description="name of the model; their own XMP's stays unless given")
    system_version: str | Column | None = Field(None, description="its version, likewise")
    prompt: str | Column | None = Field(None, description="what it was asked for, likewise")
    prompt_writer: str | Column | None = Field(None, description="who wrote that, likewise")
    certificate: PathOfFile | None = Field(
        None,
        description="PEM file on the worker with the signer's certificate and those of its issuers; signs Content"
        " Credentials, which needs the extra `c2pa` and a key",
    )
    key_file: PathOfFile | None = Field(None, description="PEM file on the worker with the certificate's private key")
    key_variable: Annotated[str, AfterValidator(_is_name)] | None = Field(
        None, description="environment variable of the worker that holds the key, in place of `key_file`"
    )
    parent: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="column of the pictures that these were made of, which become the credentials' ingredient"
    )
    watermark: Annotated[str, Field(pattern=r"^[!-~]{1,8}$")] | None = Field(
        None,
        description="up to 8 letters to hide in the pixels; adds OUTPUT_watermarked, whether they can be read again",
    )
    format: Encoding = Field(Encoding.PNG, description="of pictures that come as none of png, jpeg and webp")
    quality: int = Field(95, ge=1, le=100, description="of jpeg and webp whose pixels are written anew")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="a picture whose pixels are read is rejected with more")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        keys = [key for key in (self.key_file, self.key_variable) if key is not None]
        if self.certificate is None and (keys or self.parent is not None):
            raise ValueError("a key and a parent are for Content Credentials: they need a `certificate`")
        if self.certificate is not None and len(keys) != 1:
            raise ValueError("say where the certificate's private key is: with `key_file`, or with `key_variable`")
        return self

    def reads(self) -> dict[str, Kind]:
        """The pictures, their parents, and the columns that options name."""
        pictures = {name: Kind.IMAGE for name in (self.image, self.parent) if name is not None}
        return {**pictures, **column_options(self, dict.fromkeys(_PROPERTIES, Kind.TEXT))}

    def writes(self) -> dict[str, pa.DataType]:
        """The marked pictures, and whether a watermark can be read in them."""
        readable = {} if self.watermark is None else {f"{self.output}_watermarked": pa.bool_()}
        return {self.output: columns.IMAGE, **readable}

    def stage(self) -> None:
        """See that certificate and key are there, valid, and for such a use.

        Raises:
            CertificateError: they are not.
        """
        self.credentials()

    def credentials(self) -> Credentials | None:
        """What signs, where there is a certificate; errors as in :meth:`stage`."""
        if self.certificate is None:
            return None
        chain = read_chain(self.certificate)
        return Credentials(chain, read_key(chain, self.key_file, self.key_variable))

    def load(
        self,
        step: str | None = None,
        batch_rows: int = 16,
        device: str | None = None,  # noqa: ARG002
        compiled: bool = False,  # noqa: ARG002
    ) -> Marking:
        """Read certificate and key; arguments as in :meth:`Spec.load`, errors as in :meth:`stage`."""
        return Marking(self, step, batch_rows)


@dataclass(frozen=True)
class Given:
    """A row's picture, the file that it was made of, and properties that are told of it, by their names in XMP."""

    picture: bytes
    path: str | None
    parent: bytes | None
    properties: dict[str, str]


class Marking(Operator[Mark, Given]):
    """A loaded marker; errors as in :meth:`Mark.stage`."""

    def __init__(self, spec: Mark, step: str | None = None, batch_rows: int = 16) -> None:
        super().__init__(spec, step, batch_rows)
        self._credentials = spec.credentials()

    def prepare(self, table: pa.Table, seeds: list[int]) -> list[Given | RowError]:  # noqa: ARG002
        """Every row's files and texts."""
        told = [values(getattr(self.spec, option), table) for option in _PROPERTIES]
        parents = values(None if self.spec.parent is None else Column(column=self.spec.parent), table)
        prepared: list[Given | RowError] = []
        for picture, parent, texts in zip(
            table[self.spec.image].to_pylist(), parents, zip(*told, strict=True), strict=True
        ):
            properties = dict(zip(_PROPERTIES.values(), texts, strict=True))
            try:
                prepared.append(
                    Given(
                        picture=_bytes(picture, self.spec.image),
                        path=picture["path"],
                        parent=None if self.spec.parent is None else _bytes(parent, self.spec.parent),
                        properties={name: text for name, text in properties.items() if text is not None},
                    )
                )
            except RowError as error:
                prepared.append(error)
        return prepared

    def run(self, batch: list[Given]) -> Produced:
        """Watermark, XMP and signature of every picture, in this order: each covers those before it."""
        made: list[tuple[dict[str, Any] | None, bool | None]] = [(None, None)] * len(batch)
        errors: dict[int, RowError] = {}
        for place, row in enumerate(batch):
            try:
                made[place] = self._marked(row)
            except RowError as error:
                errors[place] = error
        return Produced(dict(zip(self.spec.writes(), zip(*made, strict=True), strict=False)), errors)

    def _marked(self, row: Given) -> tuple[dict[str, Any], bool | None]:
        own = metadata(row.picture).xmp
        known = {} if own is None else said(own)
        properties = self._properties(row, known)
        if has_credentials(row.picture) and self._credentials is None:
            raise ValueInvalidError("the picture has Content Credentials, which a mark would break; sign it as well")
        readable = None
        if self.spec.watermark is None and mime_type(row.picture):
            data = with_xmp(row.picture, packet(properties, own))
        else:
            data, readable = self._anew(row, properties)
        if self._credentials is not None:
            data = self._credentials.signed(
                data, properties[xmp.SOURCE_TYPE], _agent(known | properties), self._parent(row)
            )
        return {"bytes": data, "path": row.path}, readable

    def _properties(self, row: Given, known: dict[str, str]) -> dict[str, str]:
        if self.spec.made is not None:
            return {xmp.SOURCE_TYPE: _SOURCE_TYPES[self.spec.made].value, **row.properties}
        if not known.get(xmp.SOURCE_TYPE):
            raise ValueMissingError("the picture doesn't tell how it was made; say it with `made`")
        return {xmp.SOURCE_TYPE: known[xmp.SOURCE_TYPE], **row.properties}

    def _anew(self, row: Given, properties: dict[str, str]) -> tuple[bytes, bool | None]:
        """The picture with its watermark, in its own format where that can be marked."""
        picture = decode({"bytes": row.picture, "path": row.path}, max_pixels=self.spec.max_pixels)
        encoding = Encoding((mime_type(row.picture) or f"image/{self.spec.format}").removeprefix("image/"))
        held = kept(row.picture)
        if self.spec.watermark is not None:
            picture = with_watermark(picture, self.spec.watermark)
        told = Metadata(fitting(properties, held.xmp, STALE), held.exif, held.icc)
        data = encode(picture, encoding, self.spec.quality, told)
        return data, None if self.spec.watermark is None else self._is_readable(data)

    def _is_readable(self, data: bytes) -> bool:
        return read_watermark(decode({"bytes": data, "path": None})) == self.spec.watermark

    def _parent(self, row: Given) -> bytes | None:
        """The file that a picture was made of; of one that has credentials, itself, so that they are kept."""
        return row.picture if row.parent is None and has_credentials(row.picture) else row.parent


def _bytes(value: dict[str, Any] | None, column: str) -> bytes:
    if value is None or not value["bytes"]:
        raise ImageMissingError(f"there is no picture in {column!r}")
    return bytes(value["bytes"])


def _agent(properties: dict[str, str]) -> dict[str, str]:
    """What made a picture, as credentials have it."""
    name, version = xmp.creator_tool()
    if xmp.SYSTEM not in properties:
        return {"name": name, "version": version}
    told = {"name": properties[xmp.SYSTEM]}
    return told | ({"version": properties[xmp.SYSTEM_VERSION]} if xmp.SYSTEM_VERSION in properties else {})
