"""Marked and signed pictures of a real job, and where its key is: nowhere in the sink."""

from __future__ import annotations

import io
from pathlib import Path

import c2pa
import pyarrow as pa
import pyexiv2
import pytest

from jobs import Job
from operators import Generate, Mark
from operators.errors import CertificateError
from tests.operators.certificates import chain
from tests.ray.datasets import rows


def test_a_job_signs_what_it_makes_and_leaves_no_key(cluster: str, tmp_path: Path) -> None:
    certificate, key = chain(tmp_path / "signer")
    sink = tmp_path / "sink"
    signed = Mark(image="generated_image", certificate=str(certificate), key_file=str(key))
    table = pa.table({"prompt": ["a red circle", "a blue star"]})
    summary = Job(source=table, steps=[Generate(steps=1), signed], sink=str(sink)).run()
    assert summary.rows_out == 2
    for row in rows(sink).to_dict("records"):
        picture = row["marked_image"]["bytes"]
        with c2pa.Reader("image/png", io.BytesIO(picture)) as reader:
            assert reader.get_validation_state() == "Valid"
        with pyexiv2.ImageData(picture) as image:
            assert image.read_xmp()["Xmp.iptcExt.AIPromptInformation"] == row["prompt"]
            assert image.read_xmp()["Xmp.iptcExt.AISystemUsed"] == "builtin:stable-diffusion"
    secret = key.read_text().splitlines()[1]
    files = [path.read_bytes() for path in sink.rglob("*") if path.is_file()]
    assert any(certificate.name.encode() in data for data in files)
    assert not [data for data in files if secret.encode() in data]


def test_a_certificate_that_can_not_sign_ends_a_job_before_it_writes(cluster: str, tmp_path: Path) -> None:
    spec = Mark(made="edited", certificate=str(tmp_path / "none.pem"), key_file="none.pem")
    job = Job(source="builtin:shapes?rows=2", steps=[spec], sink=str(tmp_path / "sink"))
    with pytest.raises(CertificateError, match=r"^steps\.0\.mark: .*none\.pem can't be read: No such file"):
        job.run()
    assert not list(tmp_path.glob("sink/**/*.parquet"))
