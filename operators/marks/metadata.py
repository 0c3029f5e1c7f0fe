"""What a picture's file says beside its pixels, and where PNG, JPEG and WebP keep it.

PNG: third edition, 11.3. JPEG: ISO/IEC 10918-1 B.1, with XMP as in part 3 of its specification (ISO 16684-1), and
colour profiles as in ICC.1:2022 B.4. WebP: RFC 9649, 2.7.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from operators.errors import ValueInvalidError

LONGEST = 65_502
"""Bytes of XMP that fit into a JPEG; what is written is no longer in other formats either."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp"
_JPEG = b"\xff\xd8"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_EXIF = b"Exif\0\0"
_JPEG_ICC = b"ICC_PROFILE\0"
_START_OF_SCAN = 0xDA
_WEBP_XMP, _WEBP_EXIF, _WEBP_ICC = b"XMP ", b"EXIF", b"ICCP"
_HAS_XMP, _HAS_ALPHA = 0x04, 0x10
_LARGEST_UNPACKED = 1 << 24

Piece = tuple[bytes, bytes, int, int]
"""A chunk or segment: its type, its content, and where in the file it begins and ends."""


@dataclass(frozen=True)
class Metadata:
    """What a file says beside the pixels; None where it says nothing.

    Attributes:
        xmp: a packet, UTF-8.
        exif: a TIFF structure after ``Exif`` and two zero bytes.
        icc: a colour profile.
    """

    xmp: bytes | None = None
    exif: bytes | None = None
    icc: bytes | None = None


def mime_type(data: bytes) -> str | None:
    """``image/png``, ``image/jpeg``, ``image/webp``, or None for a file in another format."""
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(_JPEG):
        return "image/jpeg"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def metadata(data: bytes) -> Metadata:
    """What a PNG, JPEG or WebP says; nothing where it is in another format, or broken."""
    try:
        match mime_type(data):
            case "image/png":
                return _of_png(data)
            case "image/jpeg":
                return _of_jpeg(data)
            case "image/webp":
                return _of_webp(data)
    except (ValueError, IndexError, struct.error, zlib.error):
        pass
    return Metadata()


def has_credentials(data: bytes) -> bool:
    """Whether a PNG, JPEG or WebP holds C2PA Content Credentials, sound or not (C2PA 2.2, A.3)."""
    try:
        match mime_type(data):
            case "image/png":
                return any(kind == b"caBX" for kind, *_ in _chunks(data))
            case "image/jpeg":
                return any(kind == b"\xeb" and b"c2pa" in content for kind, content, *_ in _segments(data))
            case "image/webp":
                return any(kind == b"C2PA" for kind, *_ in _riff_chunks(data))
    except IndexError:
        pass
    return False


def with_xmp(data: bytes, packet: bytes) -> bytes:
    """A PNG, JPEG or WebP with this packet in place of the one that it may have; all else stays, to the byte.

    Raises:
        ValueInvalidError: the packet is too long, or the file is in another format or broken.
    """
    if len(packet) > LONGEST:
        raise ValueInvalidError(f"{len(packet)} bytes of XMP are more than the {LONGEST} that fit into a picture")
    try:
        match mime_type(data):
            case "image/png":
                return _png_with(data, packet)
            case "image/jpeg":
                return _jpeg_with(data, packet)
            case "image/webp":
                return _webp_with(data, packet)
    except (ValueError, IndexError, struct.error) as error:
        raise ValueInvalidError(f"the picture's file is broken: {error}") from error
    raise ValueInvalidError("the picture is no PNG, JPEG or WebP, and can't be marked as it is")


def _of_png(data: bytes) -> Metadata:
    found: dict[str, bytes] = {}
    for kind, content, _, _ in _chunks(data):
        if kind == b"eXIf":
            found["exif"] = _JPEG_EXIF + content
        elif kind == b"iCCP":
            found["icc"] = _unpacked(content.split(b"\0", 1)[1][1:])
        elif _is_png_xmp(kind, content):
            packed, (_, _, text) = content[len(_PNG_XMP) + 1], content[len(_PNG_XMP) + 3 :].split(b"\0", 2)
            found["xmp"] = _unpacked(text) if packed else text
    return Metadata(**found)


def _of_jpeg(data: bytes) -> Metadata:
    found: dict[str, bytes] = {}
    profile: dict[int, bytes] = {}
    for kind, content, _, _ in _segments(data):
        if kind == b"\xe1" and content.startswith(_JPEG_XMP):
            found["xmp"] = content[len(_JPEG_XMP) :]
        elif kind == b"\xe1" and content.startswith(_JPEG_EXIF):
            found["exif"] = content
        elif kind == b"\xe2" and content.startswith(_JPEG_ICC):
            profile[content[len(_JPEG_ICC)]] = content[len(_JPEG_ICC) + 2 :]
    icc = b"".join(profile[number] for number in sorted(profile))
    return Metadata(**found, icc=icc or None)


def _of_webp(data: bytes) -> Metadata:
    found = {kind: content for kind, content, _, _ in _riff_chunks(data)}
    exif = found.get(_WEBP_EXIF)
    if exif is not None and not exif.startswith(_JPEG_EXIF):
        exif = _JPEG_EXIF + exif
    return Metadata(found.get(_WEBP_XMP), exif, found.get(_WEBP_ICC))


def _png_with(data: bytes, packet: bytes) -> bytes:
    kept = [(kind, data[start:end]) for kind, content, start, end in _chunks(data) if not _is_png_xmp(kind, content)]
    if not kept or kept[0][0] != b"IHDR":
        raise ValueError("it does not begin with its size")
    content = _PNG_XMP + b"\0\0\0\0\0" + packet
    body = b"iTXt" + content
    mark = len(content).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    return b"".join([_PNG, kept[0][1], mark, *(piece for _, piece in kept[1:])])


def _jpeg_with(data: bytes, packet: bytes) -> bytes:
    pieces = list(_segments(data))
    end = pieces[-1][3] if pieces else len(_JPEG)
    # JFIF and EXIF must come first.
    first = next((at for at, piece in enumerate(pieces) if not _comes_first(piece)), len(pieces))
    kept = [data[piece[2] : piece[3]] for piece in pieces[first:] if not piece[1].startswith(_JPEG_XMP)]
    head = [data[piece[2] : piece[3]] for piece in pieces[:first]]
    content = _JPEG_XMP + packet
    mark = b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content
    return b"".join([_JPEG, *head, mark, *kept, data[end:]])


def _webp_with(data: bytes, packet: bytes) -> bytes:
    pieces = [piece for piece in _riff_chunks(data) if piece[0] != _WEBP_XMP]
    kept = [data[start:end] for kind, _, start, end in pieces if kind != b"VP8X"]
    extended = next((content for kind, content, _, _ in pieces if kind == b"VP8X"), None)
    header = _extended(pieces[0]) if extended is None else extended
    flagged = bytes([header[0] | _HAS_XMP]) + header[1:]
    body = b"WEBP" + _riff(b"VP8X", flagged) + b"".join(kept) + _riff(_WEBP_XMP, packet)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _chunks(data: bytes) -> Iterator[Piece]:
    start = len(_PNG)
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        yield data[start + 4 : start + 8], data[start + 8 : end - 4], start, end
        start = end


def _segments(data: bytes) -> Iterator[Piece]:
    start = len(_JPEG)
    while data[start] == 0xFF and data[start + 1] != _START_OF_SCAN:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4])
        yield data[start + 1 : start + 2], data[start + 4 : end], start, end
        start = end


def _riff_chunks(data: bytes) -> Iterator[Piece]:
    start = 12
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        end = start + 8 + size + size % 2
        yield data[start : start + 4], data[start + 8 : start + 8 + size], start, end
        start = end


def _riff(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)


def _extended(first: Piece) -> bytes:
    """The header of an extended WebP, for a plain one's only chunk (RFC 9649, 2.5 to 2.7)."""
    kind, content = first[:2]
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        width, height, alpha = bits & 0x3FFF, bits >> 14 & 0x3FFF, _HAS_ALPHA * (bits >> 28 & 1)
    else:
        wide, high = struct.unpack_from("<HH", content, 6)
        width, height, alpha = (wide & 0x3FFF) - 1, (high & 0x3FFF) - 1, 0
    return bytes([alpha, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _is_png_xmp(kind: bytes, content: bytes) -> bool:
    return kind == b"iTXt" and content.startswith(_PNG_XMP + b"\0")


def _comes_first(piece: Piece) -> bool:
    return piece[0] == b"\xe0" or (piece[0] == b"\xe1" and piece[1].startswith(_JPEG_EXIF))


def _unpacked(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _LARGEST_UNPACKED)
