import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from operators import columns
from operators.errors import (
    ImageEmptyError,
    ImageError,
    ImageMissingError,
    ImageTooLargeError,
    ImageTruncatedError,
    RowError,
)
from operators.images import Encoding, decode, decode_all, encode, encode_all
from tests.photos import Photos, bomb, encoded, photo


def struct(data: bytes | None, path: str | None = None) -> dict[str, object]:
    return {"bytes": data, "path": path}


def distance(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)).mean())


def test_good_photographs_come_out_upright_and_in_rgb(photos: Photos) -> None:
    for name, size in photos.good.items():
        image = decode(struct((photos.folder / name).read_bytes()))
        assert (image.mode, image.size) == ("RGB", size), name


def test_bad_photographs_fail_with_their_code(photos: Photos) -> None:
    for name, code in photos.bad.items():
        with pytest.raises(ImageError) as caught:
            decode(struct((photos.folder / name).read_bytes(), name))
        assert caught.value.code == code, name


@pytest.mark.parametrize("name", ["rocket left.jpg", "rocket right.jpg", "rocket on its head.jpg"])
def test_orientation_is_applied(photos: Photos, name: str) -> None:
    image = decode(struct((photos.folder / name).read_bytes()))
    assert distance(image, photo("rocket").crop((100, 0, 400, 427))) < 3


@pytest.mark.parametrize("name", ["coffee cmyk.jpg", "coffee 16 bit.png"])
def test_colours_survive_their_mode(photos: Photos, name: str) -> None:
    image = decode(struct((photos.folder / name).read_bytes()))
    wanted = photo("coffee") if "cmyk" in name else photo("coffee").convert("L")
    assert distance(image, wanted) < 3


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = decode(struct(encoded(Image.fromarray(grey), "TIFF")))
    assert np.array_equal(np.asarray(image)[..., 0].ravel(), np.arange(256))


def test_32_bits_are_refused_rather_than_guessed() -> None:
    for values in (np.full((4, 4), 1 << 20, np.int32), np.full((4, 4), 0.5, np.float32)):
        with pytest.raises(ImageError, match="no agreed white"):
            decode(struct(encoded(Image.fromarray(values), "TIFF")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    layer = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    layer.paste((0, 0, 0, 255), (0, 0, 4, 8))
    image = layer.quantize(4) if mode == "PA" else layer.convert(mode)
    pixels = np.asarray(decode(struct(encoded(image, "PNG"))))
    assert pixels[:, :4].max() == 0
    assert pixels[:, 4:].min() == 255


def test_a_transparent_colour_is_laid_on_white() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    assert np.asarray(decode(struct(encoded(image, "PNG", transparency=(10, 20, 30))))).min() == 255


@pytest.mark.parametrize("encoding", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_taken(encoding: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], encoding, save_all=True, append_images=frames[1:])
    assert distance(decode(struct(data)), frames[0]) < 3


def test_broken_exif_does_not_cost_the_picture() -> None:
    data = encoded(photo("chelsea").resize((30, 20)), "JPEG", exif=b"Exif\0\0garbage that is no TIFF")
    assert decode(struct(data)).size == (30, 20)


def test_no_picture() -> None:
    with pytest.raises(ImageMissingError, match="null"):
        decode(None)
    with pytest.raises(ImageMissingError, match=r"cats/9\.jpg"):
        decode(struct(None, "cats/9.jpg"))
    with pytest.raises(ImageEmptyError):
        decode(struct(b""))


def test_large_pictures_are_refused_by_their_header() -> None:
    header = bomb(60_000, 60_000)[:60]
    with pytest.raises(ImageTooLargeError):
        decode(struct(header))
    with pytest.raises(ImageTooLargeError, match="10 x 10 pixels are more than the 99 allowed"):
        decode(struct(encoded(Image.new("L", (10, 10)), "PNG")), max_pixels=99)
    assert decode(struct(encoded(Image.new("L", (10, 10)), "PNG")), max_pixels=100).size == (10, 10)


@pytest.mark.parametrize("encoding", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_a_cut_file_is_truncated(encoding: str, share: float) -> None:
    data = encoded(photo("coffee").resize((120, 90)), encoding)
    with pytest.raises(ImageTruncatedError):
        decode(struct(data[: int(len(data) * share)]))


@pytest.mark.parametrize("encoding", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_costs_the_row_at_most(encoding: str) -> None:
    data = encoded(photo("coffee").resize((64, 48)), encoding)
    rng = np.random.default_rng(7)
    for reach in (40, 200, len(data)):
        for _ in range(12):
            damaged = bytearray(data)
            for place in rng.integers(0, min(reach, len(data)), 4):
                damaged[place] = rng.integers(256)
            (outcome,) = decode_all(pa.array([struct(bytes(damaged))], columns.IMAGE), max_pixels=1_000_000)
            assert isinstance(outcome, Image.Image | RowError)


def test_programs_are_not_run_for_a_picture() -> None:
    with pytest.raises(ImageError, match="known format"):
        decode(struct(encoded(Image.new("RGB", (8, 8)), "EPS")))


def test_decode_all_keeps_order_and_failures(photos: Photos) -> None:
    names = [*photos.good, *photos.bad]
    rows = [*(struct((photos.folder / name).read_bytes(), name) for name in names), None]
    column = pa.chunked_array([pa.array(rows[:5], columns.IMAGE), pa.array(rows[5:], columns.IMAGE)])
    outcomes = decode_all(column)
    sizes = [outcome.size for outcome in outcomes if isinstance(outcome, Image.Image)]
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, RowError)]
    assert sizes == list(photos.good.values())
    assert codes == [*photos.bad.values(), "image_missing"]


def test_what_is_encoded_decodes() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), np.uint8)
    column = encode_all(pictures)
    assert column.type == columns.IMAGE
    assert column.field("path").null_count == 5
    assert np.array_equal(np.stack([np.asarray(image) for image in decode_all(column)]), pictures)
    assert encode_all([Image.fromarray(p) for p in pictures]).equals(column)
    assert len(encode_all([])) == 0


def test_encodings_and_quality() -> None:
    image = photo("coffee").resize((120, 90))
    for encoding in Encoding:
        data = encode(image, encoding)
        assert Image.open(io.BytesIO(data)).format == encoding.upper()
        assert distance(decode(struct(data)), image) < 4
    assert len(encode(image, Encoding.JPEG, quality=20)) < len(encode(image, Encoding.JPEG, quality=95)) / 2


def test_importing_costs_no_torch() -> None:

    code = "import sys, operators.images, jobs.sources; assert not {'torch', 'ray', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
