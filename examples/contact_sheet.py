"""Put the pictures of a dataset side by side: ``python examples/contact_sheet.py out/quickstart sheet.png``.

One tile for each source row: the pictures of all rows that it became, each once, with their texts below.
"""

from __future__ import annotations

import sys
import textwrap
from itertools import groupby

import pyarrow as pa
import pyarrow.dataset as pads
from PIL import Image, ImageDraw, ImageFont

from operators.columns import IMAGE, LINEAGE
from operators.images import decode

SIDE, GAP, LINE, TILES_A_LINE, MOST = 140, 8, 15, 3, 24


def main(folder: str, target: str) -> None:
    table = pads.dataset(f"{folder}/data").head(MOST)
    pictures = [field.name for field in table.schema if field.type == IMAGE]
    texts = [field.name for field in table.schema if pa.types.is_string(field.type) and field.name not in LINEAGE.names]
    by_source = [list(rows) for _, rows in groupby(table.to_pylist(), lambda row: row["source_id"])]
    tiles = [tile(once(rows, pictures), once(rows, texts)) for rows in by_source]
    width, height = max(one.width for one in tiles), max(one.height for one in tiles)
    lines = -(-len(tiles) // TILES_A_LINE)
    sheet = Image.new("RGB", (TILES_A_LINE * width, lines * height), "white")
    for number, one in enumerate(tiles):
        sheet.paste(one, (number % TILES_A_LINE * width, number // TILES_A_LINE * height))
    sheet.save(target)
    print(f"{len(tiles)} source rows are shown in {target}")


def once(rows: list[dict], names: list[str]) -> list:
    """What some columns of some rows hold, column by column, without what is there already."""
    found: list = []
    for value in (row[name] for name in names for row in rows):
        if value and value not in found:
            found.append(value)
    return found


def scaled(picture: Image.Image) -> Image.Image:
    """A picture at the height of all."""
    return picture.resize((round(picture.width * SIDE / picture.height), SIDE), Image.Resampling.NEAREST)


def tile(pictures: list[dict], texts: list[str]) -> Image.Image:
    """One source row: its pictures side by side, its texts below."""
    shown = [scaled(decode(picture)) for picture in pictures]
    width = sum(one.width + GAP for one in shown) + GAP
    lines = [line for text in texts for line in textwrap.wrap(text, width // 7)]
    made = Image.new("RGB", (width, SIDE + 2 * GAP + len(lines) * LINE), "white")
    left = GAP
    for one in shown:
        made.paste(one, (left, GAP))
        left += one.width + GAP
    text = "\n".join(lines)
    ImageDraw.Draw(made).text((GAP, SIDE + GAP), text, fill="black", font=ImageFont.load_default(12))
    return made


if __name__ == "__main__":
    main(*sys.argv[1:])
