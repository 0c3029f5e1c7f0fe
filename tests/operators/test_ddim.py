"""DDIM in closed form against diffusers' pair of schedulers; regularisation against autograd; maps of attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch.nn.functional import avg_pool2d

from operators.diffusion.attention import readable
from operators.diffusion.ddim import Ddim
from operators.diffusion.family import load_family
from operators.diffusion.inversion import invert_exactly
from operators.diffusion.loop import denoise
from operators.diffusion.noise import row_generators
from operators.diffusion.regularisation import Regularisation, auto_correlation_gradient, kl_gradient
from operators.errors import ModelError, ValueInvalidError
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef
from tests.operators.test_loop import OnePass

ONE = torch.ones(1)
STABLE: Any = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def network(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Some smooth function of latents and time."""
    return torch.sin(latents + float(timestep) / 100) / 2 + latents.roll(1, -1) / 4


@pytest.mark.parametrize("steps", [1, 3, 10, 50, 250])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("set_alpha_to_one", [True, False])
@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0)])
def test_both_ways_are_diffusers(
    steps: int, prediction_type: str, set_alpha_to_one: bool, spacing: str, offset: int
) -> None:
    if spacing == "trailing" and 1000 % steps:
        pytest.skip("diffusers' two schedulers disagree on the levels in between")
    config: Any = {
        "clip_sample": False,
        "set_alpha_to_one": set_alpha_to_one,
        "steps_offset": offset,
        "prediction_type": prediction_type,
        "timestep_spacing": spacing,
    }
    forward, inverse = DDIMScheduler(**config), DDIMInverseScheduler(**config)
    ddim = Ddim(forward, steps)
    torch.manual_seed(0)
    start = torch.randn(2, 4, 8, 8)
    for scheduler, way in ((forward, ddim.sampling()), (inverse, ddim.inverting())):
        scheduler.set_timesteps(steps)
        assert torch.equal(scheduler.timesteps, way.timesteps)
        theirs = start
        if scheduler is inverse and set_alpha_to_one and prediction_type == "sample":
            continue  # there is no noise in a picture to be told from it
        for timestep in scheduler.timesteps:
            theirs = scheduler.step(network(theirs, timestep), timestep, theirs).prev_sample
        ours = denoise(OnePass(lambda x, t: network(x[0], t)[None]), way, start, ONE, [])
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_exact_way_to_noise_is_undone(prediction_type: str) -> None:
    ddim = Ddim(DDIMScheduler(**STABLE, prediction_type=prediction_type), 20)
    clean = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    predict = OnePass(lambda x, t: network(x[0], t)[None])
    found = invert_exactly(predict, ddim, clean, ONE, tolerance=1e-6, max_iterations=30)
    exact = denoise(predict, ddim.sampling(), found, ONE, []) - clean
    plain = denoise(predict, ddim.sampling(), denoise(predict, ddim.inverting(), clean, ONE, []), ONE, []) - clean
    assert exact.abs().max() < 1e-4
    assert plain.abs().max() > 1e-2


def test_a_row_is_found_whatever_its_mates_do() -> None:
    ddim = Ddim(DDIMScheduler(**STABLE), 20)
    clean = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([1, 2, 0.1, 1, 4]).view(
        -1, 1, 1, 1
    )
    scales = torch.tensor([1.0, 0.1, 3.0, 2.0, 1.5])

    class Two(OnePass):
        passes = 2

    predict = Two(lambda x, t: torch.stack([x[0] / 10, network(x[1], t)]))
    together = invert_exactly(predict, ddim, clean, scales)
    for row in range(5):
        alone = invert_exactly(predict, ddim, clean[row : row + 1], scales[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_a_step_that_can_not_be_found_ends() -> None:
    asked: list[int] = []

    def wild(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        asked.append(int(timestep))
        return torch.sin(1e4 * latents) * (torch.nan if len(asked) > 10 else 1)

    ddim = Ddim(DDIMScheduler(), 10)
    invert_exactly(OnePass(wild), ddim, torch.randn(2, 4, 8, 8), ONE, max_iterations=4)
    assert 1 < asked.count(int(ddim.timesteps[0])) <= 4
    assert asked.count(int(ddim.timesteps[-1])) == 1


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_constant_noise_is_a_round_trip(steps: int) -> None:
    ddim = Ddim(DDIMScheduler(**STABLE), steps)
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 8, 8)
    predict = OnePass(lambda x, _: noise.expand_as(x))
    ends = [
        denoise(predict, ddim.inverting(), clean, ONE, []),
        invert_exactly(predict, ddim, clean, ONE),
    ]
    for end in ends:
        assert (end - ddim.move(noise, clean, 0, steps)).abs().max() < 1e-5
        assert (denoise(predict, ddim.sampling(), end, ONE, []) - clean).abs().max() < 1e-5


def test_what_ddim_can_not_do_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match=r"steps is 1001, but must be in 1\.\.1000"):
        Ddim(DDIMScheduler(), 1001)
    scheduler = DDIMScheduler()
    scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ModelError, match="'flow'"):
        Ddim(scheduler, 10)


def auto_correlation(noise: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """The loss as its definition has it, for one row."""
    loss = torch.zeros(())
    for channel, distances in zip(noise, shifts.tolist(), strict=True):
        scaled = channel[None, None]
        for distance in distances:
            for dim in (2, 3):
                loss = loss + (scaled * scaled.roll(distance, dim)).mean() ** 2
            scaled = avg_pool2d(scaled, 2) if scaled.shape[2] > 8 else scaled
    return loss


@pytest.mark.parametrize(("height", "width", "scales"), [(16, 16, 2), (8, 8, 1), (33, 20, 3), (12, 40, 2), (64, 8, 4)])
def test_gradients_are_those_of_the_losses(height: int, width: int, scales: int) -> None:
    torch.manual_seed(0)
    noise = (torch.randn(3, 4, height, width) * 1.3 + 0.2).requires_grad_()
    regularisation = Regularisation(row_generators([1, 2, 3]))
    shifts = regularisation._drawn(4, height, width)
    assert shifts.shape == (3, 5, 5, 4, scales)
    assert shifts[..., 0].min() == 1
    assert shifts[..., 0].max() == height // 2 - 1
    loss = torch.stack([auto_correlation(row, rolls[0, 0]) for row, rolls in zip(noise, shifts, strict=True)]).sum()
    [gradient] = torch.autograd.grad(loss, noise)
    torch.testing.assert_close(
        auto_correlation_gradient(noise.detach(), shifts[:, 0, 0]), gradient, atol=1e-8, rtol=1e-4
    )
    variance, mean = torch.var_mean(noise, (1, 2, 3))
    [gradient] = torch.autograd.grad((variance + mean**2 - 1 - torch.log(variance + 1e-7)).sum(), noise)
    torch.testing.assert_close(kl_gradient(noise.detach()), gradient, atol=1e-8, rtol=1e-4)


def test_rolls_are_those_of_one_draw_after_another() -> None:
    drawn = Regularisation(row_generators([7]), least_roll=0)._drawn(4, 28, 28)
    generator = torch.Generator().manual_seed(7)
    for rolls in drawn[0].flatten(0, 2):
        assert [int(torch.randint(side // 2, (1,), generator=generator)) for side in (28, 14, 7)] == rolls.tolist()


def test_regularised_noise_is_whiter() -> None:
    torch.manual_seed(0)
    noise = avg_pool2d(torch.randn(2, 4, 17, 17), 2, 1) * 3 + 0.5
    calm = Regularisation(row_generators([1, 2])).correct(noise, noise, torch.tensor(1))
    neighbours = [(x[..., 1:] * x[..., :-1]).mean().abs() / x.var() for x in (noise, calm)]
    assert neighbours[1] < neighbours[0]
    assert abs(calm.var() - 1) < abs(noise.var() - 1)


def test_maps_can_be_read_and_leave_no_trace(diffusion_folder: Path) -> None:
    family = load_family(diffusion_files(ModelRef(str(diffusion_folder))), torch.device("cpu"))
    predict = family.predictor(family.encode_prompts(["a circle", "a star"]))
    latents = torch.randn(1, 2, 4, 16, 16)
    before = dict(family.unet.attn_processors)

    def untouched() -> bool:
        now = family.unet.attn_processors
        return list(now) == list(before) and all(now[name] is own for name, own in before.items())

    with torch.no_grad():
        outside = predict(latents, torch.tensor(500))
        with readable(family.unet) as layers, layers.maps() as maps:
            inside = predict(latents, torch.tensor(500))
        torch.testing.assert_close(inside, outside, atol=1e-6, rtol=1e-6)
    assert untouched()
    assert len(maps) == sum(".attn2." in name for name in before)
    for layer in maps.values():
        assert layer.shape[0] == 2
        assert (layer.sum(-1) - 1).abs().max() < 1e-5
    with pytest.raises(RuntimeError), readable(family.unet) as layers, layers.maps():
        predict(latents[:, :, :3], torch.tensor(500))
    assert untouched()
    with readable(family.unet) as layers, layers.maps() as maps:
        given = latents.clone().requires_grad_()
        predict(given, torch.tensor(500))
        torch.stack([layer.square().mean() for layer in maps.values()]).sum().backward()
    assert given.grad is not None
    assert float(given.grad.abs().max()) > 0
    assert all(weight.grad is None and not weight.requires_grad for weight in family.unet.parameters())
