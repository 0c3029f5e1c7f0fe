"""Marks in pictures' files: an independent reader finds them, and they leave all else as it is."""

from __future__ import annotations

import io
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyexiv2
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from operators import Column, Generate, Img2Img, Pipeline, Pix2PixZero, columns
from operators.errors import ValueInvalidError
from operators.images import Encoding, decode, decode_all, encode
from operators.marks import xmp
from operators.marks.kept import kept, rewritten
from operators.marks.marker import Marker, Marks, system
from operators.marks.metadata import LONGEST, Metadata, has_credentials, metadata, with_xmp
from operators.marks.xmp import OURS, STALE, SourceType, fitting, packet, said
from operators.models.ref import ModelRef

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
OTHERS = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<rdf:Description rdf:about="" t:Orientation="6" t:Make="Maker" e:AISystemUsed="old"
 xmlns:mine="http://example.org/mine/" mine:note="stays &amp; stays">
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">(c) Someone</rdf:li></rdf:Alt></dc:rights>
<e:AIPromptWriterName>Somebody</e:AIPromptWriterName></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def found(data: bytes) -> dict[str, Any]:
    """What exiv2 reads."""
    with pyexiv2.ImageData(data) as image:
        return dict(image.read_xmp())


def photograph(encoding: Encoding, orientation: int = 6) -> bytes:
    """A picture that is wider than high as it lies in its file, and higher than wide upright."""
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Make], exif[Base.Software] = orientation, "Maker", "Camera 1.0"
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = "2020:02:02 02:02:02"
    exif.get_ifd(IFD.Exif)[Base.ExifImageWidth] = 96
    exif.get_ifd(IFD.GPSInfo)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    return encode(picture, encoding, 95, Metadata(OTHERS.encode(), exif.tobytes(), profile))


def as_column(*files: bytes | None) -> pa.Array:
    return pa.array([{"bytes": data, "path": None} for data in files], columns.IMAGE)


@pytest.mark.parametrize("encoding", Encoding)
def test_generated_pictures_tell_what_made_them(tiny_vae_folder: Path, encoding: Encoding) -> None:
    prompts = ["a <red> circle & a star", "ein grüner Kreis \U0001f7e2 \x07"]
    spec = Generate(model=str(tiny_vae_folder), steps=1, format=encoding, negative_prompt="blue")
    operator = spec.load()
    made = operator(pa.table({"prompt": prompts}))
    files = [row["bytes"] for row in made["generated_image"].to_pylist()]
    told = [found(data) for data in files]
    assert {each["Xmp.iptcExt.DigitalSourceType"] for each in told} == {TERMS + "trainedAlgorithmicMedia"}
    assert {each["Xmp.xmp.CreatorTool"] for each in told} == {f"Latentmill {version('latentmill')}"}
    assert {each["Xmp.iptcExt.AISystemUsed"] for each in told} == {"tiny"}
    (digest,) = operator.digests().values()
    assert {each["Xmp.iptcExt.AISystemVersionUsed"] for each in told} == {f"sha256:{digest}"}
    asked = [each["Xmp.iptcExt.AIPromptInformation"] for each in told]
    assert asked == [f"{prompt}\nNegative prompt: blue".replace("\x07", "\ufffd") for prompt in prompts]
    assert operator(pa.table({"prompt": prompts})).equals(made)


def test_marks_can_be_left_out_and_change_no_pixel(tiny_vae_folder: Path) -> None:
    table = pa.table({"prompt": ["a secret"]})
    made = [
        Generate(model=str(tiny_vae_folder), steps=1, marks=marks).load()(table)["generated_image"].to_pylist()[0]
        for marks in ("full", "without_prompt", "none")
    ]
    assert [b"a secret" in row["bytes"] for row in made] == [True, False, False]
    assert [found(row["bytes"]) == {} for row in made] == [False, False, True]
    assert len({decode(row).tobytes() for row in made}) == 1
    assert made[2]["bytes"] == encode(decode(made[0]))


@pytest.mark.parametrize("encoding", Encoding)
def test_an_edited_photograph_keeps_what_still_holds(tiny_vae_folder: Path, encoding: Encoding) -> None:
    table = pa.table({"image": as_column(photograph(encoding)), "caption": ["a circle"]})
    spec = Img2Img(model=str(tiny_vae_folder), steps=2, to="star", from_="circle", format=encoding)
    (row,) = spec.load()(table)["edited_image"].to_pylist()
    told = found(row["bytes"])
    assert told["Xmp.iptcExt.DigitalSourceType"] == TERMS + "compositeWithTrainedAlgorithmicMedia"
    assert told["Xmp.iptcExt.AIPromptInformation"] == "a star"
    assert told["Xmp.iptcExt.AISystemUsed"] == "tiny"
    assert told["Xmp.dc.rights"] == {'lang="x-default"': "(c) Someone"}
    assert told["Xmp.tiff.Make"] == "Maker"
    assert b"stays &amp; stays" in row["bytes"]
    assert not {"Xmp.tiff.Orientation", "Xmp.iptcExt.AIPromptWriterName"} & told.keys()
    image = Image.open(io.BytesIO(row["bytes"]))
    exif = image.getexif()
    assert exif[Base.Make] == "Maker"
    assert exif.get_ifd(IFD.Exif) == {Base.DateTimeOriginal: "2020:02:02 02:02:02"}
    assert exif.get_ifd(IFD.GPSInfo) == {1: "N"}
    assert not {Base.Orientation, Base.Software} & exif.keys()
    assert image.info["icc_profile"] == metadata(table["image"][0].as_py()["bytes"]).icc
    assert decode(row).tobytes() == image.convert("RGB").tobytes()


def test_an_edit_from_latents_keeps_its_pictures_metadata_and_one_from_noise_has_none(diffusion_folder: Path) -> None:
    from operators import Invert

    table = pa.table({"image": as_column(photograph(Encoding.JPEG)), "caption": ["a circle"]})
    model = str(diffusion_folder)
    inverted = Invert(model=model, steps=1, reconstruction=False).load()(table)
    options: Any = {"model": model, "steps": 1, "from_": "circle", "to": "star"}
    made = Pix2PixZero(**options).load()(inverted)["edited_image"].to_pylist()[0]["bytes"]
    assert found(made)["Xmp.tiff.Make"] == "Maker"
    noise = Pix2PixZero(start="noise", **options).load()(table)
    edited, source = (noise[name].to_pylist()[0]["bytes"] for name in ("edited_image", "edited_image_source"))
    assert "Xmp.tiff.Make" not in found(edited)
    assert found(source)["Xmp.iptcExt.DigitalSourceType"] == TERMS + "trainedAlgorithmicMedia"
    assert found(source)["Xmp.iptcExt.AIPromptInformation"] == "a circle"


def test_pictures_of_a_pipeline_are_marked(tiny_vae_folder: Path) -> None:
    arguments = {"prompt": Column(column="prompt"), "num_inference_steps": 1, "height": 64, "width": 64}
    spec = Pipeline(model=str(tiny_vae_folder), arguments=arguments)
    (row,) = spec.load()(pa.table({"prompt": ["a ring"]}))["generated_image"].to_pylist()
    assert found(row["bytes"])["Xmp.iptcExt.AIPromptInformation"] == "a ring"
    given = {**arguments, "image": Column(column="image"), "strength": 1.0}
    del given["height"], given["width"]
    edit = Pipeline(model=str(tiny_vae_folder), **{"class": "StableDiffusionImg2ImgPipeline"}, arguments=given)
    table = pa.table({"prompt": ["a ring"], "image": as_column(photograph(Encoding.WEBP))})
    (row,) = edit.load()(table)["generated_image"].to_pylist()
    told = found(row["bytes"])
    assert told["Xmp.iptcExt.DigitalSourceType"] == TERMS + "compositeWithTrainedAlgorithmicMedia"
    assert told["Xmp.dc.rights"] == {'lang="x-default"': "(c) Someone"}


def test_a_blurred_picture_keeps_its_marks() -> None:
    from operators import Safety

    given = as_column(photograph(Encoding.JPEG))
    spec = Safety(threshold=0, action="blur", format="webp")
    (row,) = spec.load()(pa.table({"image": given}))["nsfw_blurred"].to_pylist()
    told = found(row["bytes"])
    assert (told["Xmp.iptcExt.AISystemUsed"], told["Xmp.dc.rights"]) == ("old", {'lang="x-default"': "(c) Someone"})
    assert "Xmp.tiff.Orientation" not in told
    assert decode(row).size == decode_all(given)[0].size == (64, 96)


@pytest.mark.parametrize("encoding", Encoding)
def test_all_but_the_packet_stays_to_the_byte(encoding: Encoding) -> None:
    plain = encode(Image.radial_gradient("L").convert("RGB"), encoding)
    once = with_xmp(plain, packet({xmp.PROMPT: "one"}))
    twice = with_xmp(once, packet({xmp.PROMPT: "another"}))
    assert with_xmp(twice, packet({xmp.PROMPT: "one"})) == once
    assert said(metadata(twice).xmp or b"") == {xmp.PROMPT: "another"}
    assert decode({"bytes": twice, "path": None}).tobytes() == decode({"bytes": plain, "path": None}).tobytes()
    both = with_xmp(photograph(encoding), packet({xmp.PROMPT: "one"}))
    assert Image.open(io.BytesIO(both)).getexif()[Base.Orientation] == 6
    assert metadata(both) == Metadata(packet({xmp.PROMPT: "one"}), *_rest(photograph(encoding)))


def _rest(data: bytes) -> tuple[bytes | None, bytes | None]:
    return metadata(data).exif, metadata(data).icc


def test_a_webp_without_loss_and_with_transparency_keeps_both() -> None:
    buffer = io.BytesIO()
    clear = Image.radial_gradient("L").convert("RGBA")
    clear.putalpha(Image.linear_gradient("L"))
    clear.save(buffer, "webp", lossless=True, exact=True)
    marked = with_xmp(buffer.getvalue(), packet({xmp.PROMPT: "one"}))
    assert found(marked) == {"Xmp.iptcExt.AIPromptInformation": "one"}
    assert Image.open(io.BytesIO(marked)).tobytes() == clear.tobytes()


@pytest.mark.parametrize("encoding", Encoding)
def test_a_long_prompt_is_cut_where_a_jpeg_is_full(encoding: Encoding) -> None:
    for prompt in ("é<" * 50_000, "a word " * 20_000):
        (given,) = Marker(Marks.FULL, ModelRef("builtin:blip"), "0")(SourceType.GENERATED, [prompt])
        assert len(given.xmp or b"") < LONGEST
        told = found(encode(Image.new("RGB", (8, 8)), encoding, 95, given))["Xmp.iptcExt.AIPromptInformation"]
        assert told.endswith(" [...]")
        assert prompt.startswith(told.removesuffix(" [...]"))
        assert len(told) > 4_000


def test_a_source_that_says_too_much_leaves_room_for_the_mark() -> None:
    much = packet({}, OTHERS.replace("(c) Someone", "x" * 70_000).encode())
    assert said(fitting({xmp.PROMPT: "one"}, much, (*OURS, *STALE))) == {xmp.PROMPT: "one"}
    with pytest.raises(ValueInvalidError, match="70"):
        with_xmp(photograph(Encoding.PNG), much)


@pytest.mark.parametrize(
    "broken", [b"", b"<x", b"<a/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + OTHERS.encode(), OTHERS.encode("utf-16")]
)
def test_a_broken_packet_is_replaced(broken: bytes) -> None:
    assert packet({xmp.PROMPT: "one"}, broken) == packet({xmp.PROMPT: "one"})
    assert said(broken) == {}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_files_and_exif_cost_nothing_but_themselves() -> None:
    numbers = random.Random(7)
    whole = [photograph(encoding) for encoding in Encoding]
    for data in whole:
        for _ in range(100):
            cut = bytearray(data[: numbers.randrange(len(data))])
            for _ in range(5):
                cut[numbers.randrange(len(cut))] = numbers.randrange(256) if cut else 0
            held = kept(bytes(cut))
            assert len(encode(Image.new("RGB", (8, 8)), Encoding.JPEG, 95, held))
            has_credentials(bytes(cut))
            rewritten(bytes(cut))
    assert kept(b"GIF89a") == Metadata()


def test_a_profile_of_other_colours_is_left_out() -> None:
    grey = b"\0" * 16 + b"GRAY" + b"\0" * 200
    assert kept(encode(Image.new("L", (8, 8)), Encoding.PNG, 95, Metadata(icc=grey))).icc is None


def test_a_model_is_told_without_where_it_lies() -> None:
    given = ("builtin:blip", "org/name@abc", "/home/somebody/models/mine", "s3://bucket/key/mine?token=x")
    assert [system(ModelRef(name)) for name in given] == ["builtin:blip", "org/name", "mine", "mine"]
