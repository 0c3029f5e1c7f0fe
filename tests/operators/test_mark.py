"""``mark``: an independent reader finds credentials, and knows when a picture was changed; keys stay where they are."""

from __future__ import annotations

import io
import json
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import c2pa
import pyarrow as pa
import pyexiv2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image
from pydantic import ValidationError
from skimage import data

from operators import Column, Mark, columns
from operators.errors import CertificateError
from operators.images import Encoding as Format
from operators.images import decode, encode
from operators.marks.metadata import Metadata, mime_type
from operators.marks.watermark import read_watermark, with_watermark
from operators.marks.xmp import SYSTEM, packet
from tests.operators.certificates import NOW, chain

TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PHOTO = Image.fromarray(data.chelsea())


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    certificate, key = chain(tmp_path_factory.mktemp("signer"))
    return {"certificate": str(certificate), "key_file": str(key)}


def table(*files: bytes | None, **more: Any) -> pa.Table:
    return pa.table({"image": pa.array([{"bytes": each, "path": "a.x"} for each in files], columns.IMAGE), **more})


def marked(given: pa.Table, **options: Any) -> list[bytes]:
    made = Mark(**options).load()(given)
    assert made[columns.ERROR].null_count == given.num_rows, made[columns.ERROR]
    assert {row["path"] for row in made["marked_image"].to_pylist()} == {"a.x"}
    return [row["bytes"] for row in made["marked_image"].to_pylist()]


def codes(given: pa.Table, **options: Any) -> list[str | None]:
    return [error and error["code"] for error in Mark(**options).load()(given)[columns.ERROR].to_pylist()]


def read(picture: bytes) -> tuple[str, dict[str, Any]]:
    """What C2PA's own reader says: whether all is sound, and the newest manifest."""
    with c2pa.Reader(mime_type(picture) or "", io.BytesIO(picture)) as reader:
        told = json.loads(reader.json())
        return str(reader.get_validation_state()), told["manifests"][told["active_manifest"]]


def actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    (found,) = [each for each in manifest["assertions"] if each["label"].startswith("c2pa.actions")]
    return list(found["data"]["actions"])


@pytest.mark.parametrize("encoding", Format)
def test_a_signed_picture_is_sound_until_a_byte_is_flipped_or_it_is_written_anew(
    encoding: Format, signer: dict[str, str]
) -> None:
    (picture,) = marked(
        table(encode(PHOTO, encoding), who=["a model"]), made="generated", system=Column(column="who"), **signer
    )
    state, manifest = read(picture)
    assert state == "Valid"
    (created,) = actions(manifest)
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"] == TERMS + "trainedAlgorithmicMedia"
    assert created["softwareAgent"] == {"name": "a model"}
    assert manifest["claim_generator_info"][0]["name"] == "Latentmill"
    plain = {"bytes": encode(PHOTO, encoding), "path": None}
    assert decode({"bytes": picture, "path": None}).tobytes() == decode(plain).tobytes()
    with pyexiv2.ImageData(picture) as image:
        assert image.read_xmp() == {
            "Xmp.iptcExt.DigitalSourceType": TERMS + "trainedAlgorithmicMedia",
            "Xmp.iptcExt.AISystemUsed": "a model",
        }
    for at in (picture.index(b"a model"), len(picture) // 2):
        changed = bytearray(picture)
        changed[at] ^= 1
        assert read(bytes(changed))[0] == "Invalid"
    again = encode(decode({"bytes": picture, "path": None}), encoding)
    with pytest.raises(c2pa.C2paError.ManifestNotFound):
        read(again)
    with pyexiv2.ImageData(again) as image:
        assert image.read_xmp() == {}


def test_what_a_picture_was_made_of_is_its_ingredient(signer: dict[str, str]) -> None:
    source = io.BytesIO()
    PHOTO.save(source, "tiff")
    (first,) = marked(table(encode(PHOTO)), made="generated", system="painter", **signer)
    files = [source.getvalue(), first]
    given = table(*[encode(PHOTO.rotate(180), Format.JPEG)] * 2, before=table(*files)["image"])
    for picture in marked(given, made="edited", parent="before", **signer):
        state, manifest = read(picture)
        opened, edited = actions(manifest)
        (ingredient,) = manifest["ingredients"]
        assert (state, opened["action"], edited["action"]) == ("Valid", "c2pa.opened", "c2pa.edited")
        assert edited["digitalSourceType"] == TERMS + "compositeWithTrainedAlgorithmicMedia"
        assert ingredient["relationship"] == "parentOf"
        assert len(opened["parameters"]["ingredients"]) == 1
    with c2pa.Reader("image/jpeg", io.BytesIO(picture)) as reader:
        manifests = json.loads(reader.json())["manifests"]
    agents = [action.get("softwareAgent") for each in manifests.values() for action in actions(each)]
    assert {"name": "painter"} in agents


def test_credentials_that_are_there_are_kept_within_and_never_broken(signer: dict[str, str]) -> None:
    (first,) = marked(table(encode(PHOTO, Format.WEBP)), made="generated", **signer)
    (second,) = marked(table(first), **signer)
    state, manifest = read(second)
    assert (state, len(manifest["ingredients"])) == ("Valid", 1)
    assert [action["action"] for action in actions(manifest)] == ["c2pa.opened", "c2pa.edited"]
    assert codes(table(first), made="generated") == ["value_invalid"]


def test_a_watermark_is_read_after_jpeg_and_lies_under_xmp_and_signature(signer: dict[str, str]) -> None:
    photos = [PHOTO, Image.fromarray(data.astronaut()), PHOTO.resize((144, 144))]
    for encoding in Format:
        made = marked(
            table(*[encode(photo, encoding) for photo in photos]), made="edited", watermark="mill.v01", **signer
        )
        for picture, photo in zip(made, photos, strict=True):
            assert mime_type(picture) == f"image/{encoding}"
            seen = decode({"bytes": picture, "path": None})
            jpeg = encode(seen, Format.JPEG, 95)
            assert read_watermark(seen) == read_watermark(decode({"bytes": jpeg, "path": None})) == "mill.v01"
            assert read_watermark(photo) is None
            assert read(picture)[0] == "Valid"


def test_a_picture_tells_whether_its_watermark_can_be_read() -> None:
    blue = Image.new("RGB", (160, 160), "blue")
    made = Mark(made="edited", watermark="a", output="x").load()(table(encode(PHOTO), encode(blue)))
    assert made["x_watermarked"].to_pylist() == [True, False]
    assert codes(table(encode(PHOTO.resize((96, 96)))), made="edited", watermark="a") == ["image_too_small"]


def test_a_watermark_changes_little() -> None:
    import numpy as np

    apart = np.asarray(with_watermark(PHOTO, "a"), float) - np.asarray(PHOTO, float)
    assert 0 < np.abs(apart).max() <= 8
    assert 10 * np.log10(255**2 / (apart**2).mean()) > 45


def test_pictures_from_elsewhere_are_marked_as_they_are_and_keep_what_they_say() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    told = Metadata(packet({SYSTEM: "theirs"}), exif.tobytes())
    (picture,) = marked(
        table(encode(PHOTO, Format.JPEG, 95, told), p=["a cat"]),
        made="edited",
        prompt=Column(column="p"),
        prompt_writer="Ada",
    )
    with pyexiv2.ImageData(picture) as image:
        assert image.read_xmp() == {
            "Xmp.iptcExt.DigitalSourceType": TERMS + "compositeWithTrainedAlgorithmicMedia",
            "Xmp.iptcExt.AISystemUsed": "theirs",
            "Xmp.iptcExt.AIPromptInformation": "a cat",
            "Xmp.iptcExt.AIPromptWriterName": "Ada",
        }
    assert Image.open(io.BytesIO(picture)).getexif()[0x0112] == 6
    gif = io.BytesIO()
    PHOTO.save(gif, "gif")
    assert mime_type(marked(table(gif.getvalue()), made="edited", format="webp")[0]) == "image/webp"


def test_rows_that_can_not_be_marked_cost_only_themselves(signer: dict[str, str]) -> None:
    good = encode(PHOTO.resize((64, 64)))
    silent = encode(PHOTO, metadata=Metadata(packet({})))
    told = codes(table(None, b"no picture", good[:40], good, silent))
    assert told == ["image_missing", *["value_missing"] * 4]
    assert codes(table(b"no picture", good[:10], good), made="edited") == ["image_undecodable", "value_invalid", None]
    parents = table(None, b"no picture", good)["image"]
    assert codes(table(*[good] * 3, before=parents), made="edited", parent="before", **signer) == [
        "image_missing",
        "value_invalid",
        None,
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"certificate": "a.pem"},
        {"certificate": "a.pem", "key_file": "b.pem", "key_variable": "C"},
        {"key_file": "b.pem"},
        {"parent": "image"},
        {"watermark": "nine.long"},
        {"watermark": "ä"},
        {"made": "drawn"},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Mark(**wrong)


@pytest.mark.parametrize("option", ["key_file", "key_variable"])
def test_a_key_in_place_of_its_path_or_name_is_refused_unseen(option: str) -> None:
    given: Any = {"certificate": "a.pem", option: "-----BEGIN PRIVATE KEY-----\nSECRET"}
    with pytest.raises(ValidationError) as told:
        Mark(**given)
    assert "never what is in it" in str(told.value)
    assert "SECRET" not in str(told.value)


def test_a_key_from_the_environment_signs_and_is_in_nothing_that_leaves_the_worker(
    signer: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path(signer["key_file"]).read_text()
    spec = Mark(made="generated", certificate=signer["certificate"], key_variable="A_KEY")
    with pytest.raises(CertificateError, match="the variable A_KEY is not set where the worker runs"):
        spec.stage()
    monkeypatch.setenv("A_KEY", text)
    spec.stage()
    operator = spec.load()
    made = operator(table(encode(PHOTO)))
    assert read(made["marked_image"][0].as_py()["bytes"])[0] == "Valid"
    secret = text.splitlines()[1]
    assert secret not in repr(vars(operator))
    assert secret not in spec.model_dump_json()
    assert secret.encode() not in pickle.dumps(spec)
    with pytest.raises((TypeError, ValueError)):
        pickle.dumps(operator)


@pytest.mark.parametrize("fault", ["missing", "no_pem", "expired", "not_yet", "purpose", "itself", "curve"])
def test_a_certificate_that_can_not_sign_is_told_in_a_line(tmp_path: Path, fault: str) -> None:
    certificate, key = chain(tmp_path)
    said = "the file"
    match fault:
        case "missing":
            certificate, said = tmp_path / "none.pem", "can't be read: No such file or directory"
        case "no_pem":
            certificate.write_text("hello")
            said = "holds no certificates in PEM"
        case "expired":
            certificate, key = chain(tmp_path, ends=NOW - timedelta(days=2))
            said = "expired on"
        case "not_yet":
            certificate, key = chain(tmp_path, begins=NOW + timedelta(days=2))
            said = "is not valid before"
        case "purpose":
            certificate, key = chain(tmp_path, ExtendedKeyUsageOID.SERVER_AUTH)
            said = "may not sign pictures"
        case "itself":
            parts = certificate.read_text().split("-----BEGIN")
            certificate.write_text("-----BEGIN" + parts[2])
            said = "signed by itself"
        case "curve":
            certificate, key = chain(tmp_path, curve=ec.SECP256K1())
            said = "none of P-256"
    with pytest.raises(CertificateError, match=said) as told:
        Mark(certificate=str(certificate), key_file=str(key)).stage()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("fault", ["missing", "no_pem", "others", "password"])
def test_a_key_that_can_not_sign_is_told_in_a_line_without_it(tmp_path: Path, fault: str) -> None:
    certificate, key = chain(tmp_path)
    secret = ec.generate_private_key(ec.SECP256R1())
    match fault:
        case "missing":
            key.unlink()
            said = "can't be read"
        case "no_pem":
            key.write_text("hush")
            said = "holds no private key in PEM"
        case "others":
            said = "holds the key of another certificate"
            _, key = chain(tmp_path / "other")
        case "password":
            said = "under a password"
            locked = secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
            key.write_bytes(locked)
    with pytest.raises(CertificateError, match=said) as told:
        Mark(certificate=str(certificate), key_file=str(key)).load()
    assert "hush" not in str(told.value)
