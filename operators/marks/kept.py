"""What of a picture's metadata still holds once its pixels are written anew."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from PIL.ExifTags import IFD, Base

from operators import columns
from operators.images import BAD_CONTENT
from operators.marks.metadata import Metadata, metadata
from operators.marks.xmp import STALE, fitting

_LONGEST_EXIF = 65_533
_STALE_EXIF = (
    Base.Orientation,
    Base.ImageWidth,
    Base.ImageLength,
    Base.DateTime,
    Base.Software,
    Base.ProcessingSoftware,
)
_STALE_DETAILS = (Base.ExifImageWidth, Base.ExifImageHeight, Base.MakerNote)


def kept(data: bytes) -> Metadata:
    """A file's metadata, as far as they hold for pixels that :func:`operators.images.decode` gave, or were made of.

    EXIF stays without orientation, which is in the pixels now, sizes, the time of the last change, the names of
    programs, the maker's notes, and the small picture of how it was. A colour profile stays where it is one of RGB
    colours. XMP stays as it is: what replaces parts of it is known later. A file that is no PNG, JPEG or WebP has none.
    """
    found = metadata(data)
    return Metadata(found.xmp, found.exif and _upright(found.exif), found.icc if _is_rgb(found.icc) else None)


def kept_all(table: pa.Table, column: str | None) -> list[Metadata | None]:
    """The same for every row of a column of pictures; None where there is no such column or no picture."""
    if column is None or column not in table.column_names or not columns.is_image(table.schema.field(column).type):
        return [None] * table.num_rows
    pictures = pc.struct_field(table[column], "bytes").to_pylist()
    return [kept(data) if data else None for data in pictures]


def rewritten(data: bytes) -> Metadata:
    """All that :func:`kept` keeps, for a picture that shows the same and carries no further mark."""
    found = kept(data)
    return Metadata(found.xmp and fitting({}, found.xmp, STALE), found.exif, found.icc)


def _is_rgb(profile: bytes | None) -> bool:
    return profile is not None and profile[16:20] == b"RGB "


def _upright(data: bytes) -> bytes | None:
    try:
        exif = Image.Exif()
        exif.load(data)
        details = exif.get_ifd(IFD.Exif)
        for tags, stale in ((exif, _STALE_EXIF), (details, _STALE_DETAILS)):
            for tag in stale:
                tags.pop(tag, None)
        made = exif.tobytes()
    except BAD_CONTENT:
        # Many cameras and editors write broken EXIF beside sound pixels.
        return None
    return made if len(exif) and len(made) <= _LONGEST_EXIF else None
