"""XMP packets (ISO 16684-1) with the properties of IPTC Photo Metadata 2025.1 that tell what a model made."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from xml.dom import minidom
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from operators.marks.metadata import LONGEST

SOURCE_TYPE = "Iptc4xmpExt:DigitalSourceType"
SYSTEM = "Iptc4xmpExt:AISystemUsed"
SYSTEM_VERSION = "Iptc4xmpExt:AISystemVersionUsed"
PROMPT = "Iptc4xmpExt:AIPromptInformation"
PROMPT_WRITER = "Iptc4xmpExt:AIPromptWriterName"
CREATOR_TOOL = "xmp:CreatorTool"

OURS = (SOURCE_TYPE, SYSTEM, SYSTEM_VERSION, PROMPT, PROMPT_WRITER, CREATOR_TOOL)
"""What a mark says of a picture that was just made, and nothing older can still say."""

STALE = (
    "tiff:Orientation",
    "tiff:ImageWidth",
    "tiff:ImageLength",
    "exif:PixelXDimension",
    "exif:PixelYDimension",
    "xmp:ModifyDate",
    "xmp:MetadataDate",
    "xmp:Thumbnails",
    "xmpMM:InstanceID",
    "xmpNote:HasExtendedXMP",
    "dcterms:provenance",
)
"""What no longer holds once pixels were written anew; the last leads to credentials of the file that was."""

LONGEST_PROMPT = 32_000
"""Bytes of a prompt in XML; what is longer is cut, and ends in ``[...]``."""

_NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "dcterms": "http://purl.org/dc/terms/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
}
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta>'
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_END = '\n<?xpacket end="w"?>'
_NO_XML = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CUT = " [...]"
_LONGEST_READ = 1 << 20


class SourceType(StrEnum):
    """How a picture came to be: terms of IPTC's vocabulary of digital source types."""

    GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    EDITED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@cache
def creator_tool() -> tuple[str, str]:
    """Latentmill's name and version."""
    try:
        return "Latentmill", version("latentmill")
    except PackageNotFoundError:
        return "Latentmill", "unknown"


def packet(properties: Mapping[str, str], kept: bytes | None = None, without: Collection[str] = ()) -> bytes:
    """A packet with these properties.

    Args:
        properties: texts by name, as in :data:`OURS`.
        kept: a packet whose other properties stay; left out where it is broken.
        without: properties of it that don't stay.
    """
    document = (kept and _parsed(kept)) or _document(_EMPTY)
    (rdf, *_) = document.getElementsByTagNameNS(_RDF, "RDF")
    described = list(_descriptions(rdf))
    for description in described:
        for name in {*without, *properties}:
            _remove(description, name)
    about = described[0].getAttributeNS(_RDF, "about") if described else ""
    rdf.appendChild(document.importNode(_root(_document(_description(properties, about))), deep=True))
    return (_BEGIN + _root(document).toxml() + _END).encode()


def fitting(properties: Mapping[str, str], kept: bytes | None = None, without: Collection[str] = ()) -> bytes:
    """The same, but of these properties alone where all are too many for a picture."""
    whole = packet(properties, kept, without)
    return whole if len(whole) <= LONGEST else packet(properties)


def said(given: bytes) -> dict[str, str]:
    """The texts of those of :data:`OURS` that a packet has; nothing where it is broken."""
    document = _parsed(given)
    found: dict[str, str] = {}
    for rdf in document.getElementsByTagNameNS(_RDF, "RDF") if document else ():
        for description in _descriptions(rdf):
            for name in OURS:
                for node in _nodes(description, name):
                    found[name] = "".join(child.data for child in node.childNodes if hasattr(child, "data"))
    return found


def _document(text: str | bytes) -> minidom.Document:
    return minidom.parseString(text)  # noqa: S318 - our own, or without a document type


def _root(document: minidom.Document) -> minidom.Element:
    (root,) = (node for node in document.childNodes if isinstance(node, minidom.Element))
    return root


def _parsed(given: bytes) -> minidom.Document | None:
    # No packet declares a document type; without one, no entity can grow.
    text = given.strip(b"\0 \t\r\n")
    if len(text) > _LONGEST_READ or b"<!DOCTYPE" in text or b"\0" in text:
        return None
    try:
        document = _document(text)
    except (ExpatError, ValueError):
        return None
    return document if document.getElementsByTagNameNS(_RDF, "RDF") else None


def _descriptions(rdf: minidom.Element) -> Iterator[minidom.Element]:
    for child in rdf.childNodes:
        if isinstance(child, minidom.Element) and child.namespaceURI == _RDF and child.localName == "Description":
            yield child


def _nodes(description: minidom.Element, name: str) -> Iterator[minidom.Element | minidom.Attr]:
    """A property, in either of the forms that it is written in."""
    prefix, _, local = name.partition(":")
    attribute = description.getAttributeNodeNS(_NAMESPACES[prefix], local)
    if attribute is not None:
        yield attribute
    for child in list(description.childNodes):
        if isinstance(child, minidom.Element) and (child.namespaceURI, child.localName) == (_NAMESPACES[prefix], local):
            yield child


def _remove(description: minidom.Element, name: str) -> None:
    for node in _nodes(description, name):
        if isinstance(node, minidom.Attr):
            description.removeAttributeNode(node)
        else:
            description.removeChild(node)


def _description(properties: Mapping[str, str], about: str) -> str:
    prefixes = sorted({name.partition(":")[0] for name in properties})
    spaces = "".join(f' xmlns:{prefix}="{_NAMESPACES[prefix]}"' for prefix in prefixes)
    texts = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in properties.items())
    quoted = escape(about, {'"': "&quot;"})
    return f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="{quoted}"{spaces}>{texts}</rdf:Description>'


def _text(value: str) -> str:
    """A text in XML: no longer than :data:`LONGEST_PROMPT` bytes, without what XML can't hold."""
    sound = _NO_XML.sub("\ufffd", value)
    shown = _escaped(sound)
    while (size := len(shown.encode())) > LONGEST_PROMPT:
        sound = sound[: min(len(sound) * (LONGEST_PROMPT - len(_CUT)) // size, len(sound) - 1)]
        shown = _escaped(sound.rstrip()) + _CUT
    return shown


def _escaped(text: str) -> str:
    return escape(text, {"\r": "&#13;"})
