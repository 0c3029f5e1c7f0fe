"""From a model's name to its files, or to one clear line."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import fsspec
import pytest
import torch

from operators import Caption, Generate
from operators.errors import ModelError
from operators.models.loading import ModelFiles, pick_device, pick_dtype
from operators.models.ref import ModelRef


def files(name: object, **options: object) -> ModelFiles:
    return ModelFiles(ModelRef.parse(str(name)), **options)  # type: ignore[arg-type]


def pickled(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    from safetensors.torch import load_file

    torch.save(load_file(target / "model.safetensors"), target / "pytorch_model.bin")
    (target / "model.safetensors").unlink()
    return target


def test_the_digest_is_of_the_weights_alone(blip_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(blip_folder, tmp_path / "copy")
    (copy / "README.txt").write_text("other")
    wanted = hashlib.sha256((blip_folder / "model.safetensors").read_bytes()).hexdigest()
    assert files(copy).digest == files(blip_folder).digest == wanted
    assert Caption(model=str(copy)).load().digests() == {str(copy): wanted}
    with (copy / "model.safetensors").open("ab") as weights:
        weights.write(b"\0")
    assert files(copy).digest != wanted


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no model .*nowhere': .*nowhere is no folder"):
        files(tmp_path / "nowhere")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        files(tmp_path)


def test_pickles_need_an_opt_in(blip_folder: Path, tmp_path: Path) -> None:
    folder = pickled(blip_folder, tmp_path / "pickled")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin, a pickle, .* `allow_pickle: true`"):
        Caption(model=str(folder)).load()
    Caption(model=str(folder), allow_pickle=True).load()


def test_another_kind_of_model_is_refused(blip_folder: Path, diffusion_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        Caption(model=str(diffusion_folder)).load()
    with pytest.raises(ModelError, match=r"has no .* in text_encoder/"):
        Generate(model=str(blip_folder)).load()
    other = shutil.copytree(blip_folder, tmp_path / "other")
    config = (other / "config.json").read_text().replace("BlipForConditionalGeneration", "BlipForQuestionAnswering")
    (other / "config.json").write_text(config)
    with pytest.raises(ModelError, match="is a BlipForQuestionAnswering; this step takes a BlipForConditional"):
        Caption(model=str(other)).load()
    xl = shutil.copytree(diffusion_folder, tmp_path / "xl")
    index = (xl / "model_index.json").read_text().replace('"StableDiffusionPipeline"', '"StableDiffusionXLPipeline"')
    (xl / "model_index.json").write_text(index)
    with pytest.raises(ModelError, match="has no folder tokenizer_2/"):
        Generate(model=str(xl)).load()
    (xl / "model_index.json").write_text(index.replace("XLPipeline", "3Pipeline"))
    with pytest.raises(ModelError, match="is a StableDiffusion3Pipeline; this step takes StableDiffusionPipeline, "):
        Generate(model=str(xl)).load()


def test_a_uri_is_copied_once_by_whoever_comes_first(blip_folder: Path, tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}/blip"
    fsspec.filesystem("memory").put(str(blip_folder), root, recursive=True)
    found: list[ModelFiles] = []
    threads = [threading.Thread(target=lambda: found.append(files(root, cache=tmp_path / "cache"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [folder] = {each.folder for each in found}
    assert len(found) == 4
    assert found[0].digest == files(blip_folder).digest
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in blip_folder.iterdir())
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [folder]
    with fsspec.open(f"{root}/added.txt", "w") as file:
        file.write("changed")
    assert files(root, cache=tmp_path / "cache").folder != folder


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("memory://nothing/here", "the folder is empty or not there"),
        ("nosuch://bucket/model", "can't be read: Protocol not known: nosuch"),
    ],
)
def test_a_uri_that_leads_nowhere(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        files(uri, cache=tmp_path)


def offline(code: str, home: Path) -> str:
    """What a process says that can't reach the hub and has only the models under ``home``."""
    surroundings = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def test_a_hub_model_comes_from_the_cache_when_offline(blip_folder: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--org--blip"
    shutil.copytree(blip_folder, cached / "snapshots" / commit)
    code = (
        "from operators import Caption\n"
        f"operator = Caption(model='org/blip@{commit}').load()\n"
        "print(operator.digests())"
    )
    assert offline(code, tmp_path) == (str({f"org/blip@{commit}": files(blip_folder).digest}))


def test_a_hub_model_that_can_not_be_had(tmp_path: Path) -> None:
    said = offline("from operators import Generate; Generate(model='org/nothing').load()", tmp_path)
    assert "ModelError: model 'org/nothing' is not on this machine and the hub can't be reached" in said


def test_half_precision_only_where_it_is_fast() -> None:
    assert pick_dtype(torch.device("cpu")) == torch.float32
    assert pick_dtype(torch.device("cuda")) == torch.float16
    assert pick_device("cpu") == torch.device("cpu")
