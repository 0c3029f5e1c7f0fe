from pathlib import Path

import pyarrow as pa
import pytest

from operators.images import encode_all
from operators.models.builtin.scenes import draw, scene


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pictures() -> pa.StructArray:
    return encode_all(draw([scene(index, 2) for index in range(6)]))


@pytest.fixture(scope="session")
def diffusion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.operators import tiny

    return tiny.stable_diffusion(tmp_path_factory.mktemp("models") / "kl", tiny.autoencoder_kl())


@pytest.fixture(scope="session")
def tiny_vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.operators import tiny

    return tiny.stable_diffusion(tmp_path_factory.mktemp("models") / "tiny", tiny.autoencoder_tiny())


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.operators import tiny

    return tiny.blip(tmp_path_factory.mktemp("models") / "blip")


@pytest.fixture(scope="session")
def sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.operators import tiny

    return tiny.stable_diffusion_2(tmp_path_factory.mktemp("models") / "sd2")


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.operators import tiny

    return tiny.stable_diffusion_xl(tmp_path_factory.mktemp("models") / "sdxl")
