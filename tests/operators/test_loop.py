"""The schedulers' table and the loop's parts."""

from collections.abc import Callable

import diffusers
import pytest
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

from operators.diffusion.loop import Method, denoise, guide
from operators.diffusion.noise import row_generators, row_noise
from operators.diffusion.schedulers import LEFT_OUT, SCHEDULERS, Sampling, build, check_name
from operators.errors import ValueInvalidError


class OnePass:
    """A network under one set of conditions."""

    passes = 1

    def __init__(self, predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        self.predict = predict

    def __call__(self, inputs: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return self.predict(inputs, timestep)


def test_the_table_is_what_diffusers_has() -> None:
    classes = {class_name for class_name, _ in SCHEDULERS.values()}
    assert all(hasattr(diffusers, name) for name in classes)
    assert {known.name for known in KarrasDiffusionSchedulers} <= classes | set(LEFT_OUT)
    assert classes <= set(SCHEDULERS)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_goes_from_noise_to_the_same_picture(name: str) -> None:
    """Under a network that always knows the clean latents, every sampler must end near them."""
    own = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    scheduler = build(name, own)
    schedule = Sampling(scheduler, 20)
    clean = torch.linspace(-1, 1, 64).reshape(1, 4, 4, 4)
    log_sigmas = ((1 - own.alphas_cumprod) / own.alphas_cumprod).log() / 2

    def predict(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        below = int(timestep)
        above = min(below + 1, len(log_sigmas) - 1)
        sigma = torch.lerp(log_sigmas[below], log_sigmas[above], float(timestep) - below).exp()
        level = 1 / (1 + sigma**2)
        return (latents - level.sqrt() * clean) / (1 - level).sqrt()

    generators = row_generators([0])
    noise = row_noise(generators, (4, 4, 4), torch.device("cpu"))
    reached = denoise(OnePass(predict), schedule, schedule.noisy(noise), torch.ones(1), generators)
    assert (reached - clean).abs().max() < 0.15


def test_unknown_schedulers_are_answered_with_the_nearest() -> None:
    assert check_name("EulerDiscreteScheduler") == "EulerDiscreteScheduler"
    with pytest.raises(ValueError, match="did you mean 'euler'"):
        check_name("Eular")
    with pytest.raises(ValueError, match="there are ddim, ddpm"):
        check_name("zzzzzz")
    with pytest.raises(ValueError, match="draws one noise for the whole batch"):
        check_name("DPMSolverSDEScheduler")


@pytest.mark.parametrize(("steps", "strength"), [(0, 1.0), (-1, 1.0), (1001, 1.0), (10, 0.0), (10, 0.05), (10, 1.5)])
def test_a_schedule_without_steps_is_refused(steps: int, strength: float) -> None:
    with pytest.raises(ValueInvalidError):
        Sampling(diffusers.DDIMScheduler(), steps, strength=strength)


def test_guidance_is_per_row_and_one_pass_stands_for_itself() -> None:
    passes = torch.randn(2, 3, 4, 2, 2)
    guided = guide(passes, torch.tensor([1.0, 0.0, 5.0]))
    torch.testing.assert_close(guided[0], passes[1, 0])
    torch.testing.assert_close(guided[1], passes[0, 1])
    torch.testing.assert_close(guided[2], 5 * passes[1, 2] - 4 * passes[0, 2])
    assert guide(passes[:1], torch.tensor([9.0, 9, 9])) is not None
    torch.testing.assert_close(guide(passes[:1], torch.tensor([9.0, 9, 9])), passes[0])


def test_a_row_has_its_noise_whoever_is_beside_it() -> None:
    cpu = torch.device("cpu")
    together = row_noise(row_generators([5, 6, 7]), (4, 8, 8), cpu)
    alone = row_noise(row_generators([6]), (4, 8, 8), cpu)
    assert torch.equal(together[1], alone[0])
    assert torch.equal(alone, torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(6)))


def test_hooks_are_called_in_order_at_every_timestep() -> None:
    calls: list[str] = []

    class Noted(Method):
        def __init__(self, name: str) -> None:
            self.name = name

        def before(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            calls.append(f"before {self.name} {int(timestep)}")
            return latents

        def combine(
            self, predicted: torch.Tensor, passes: torch.Tensor, latents: torch.Tensor, timestep: torch.Tensor
        ) -> torch.Tensor:
            calls.append(f"combine {self.name} {int(timestep)}")
            assert passes.shape[1:] == predicted.shape == latents.shape
            return predicted

        def correct(self, predicted: torch.Tensor, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            calls.append(f"correct {self.name} {int(timestep)}")
            assert predicted.shape == latents.shape
            return predicted

        def after(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
            calls.append(f"after {self.name} {int(timestep)}")
            return latents

    schedule = Sampling(diffusers.DDIMScheduler(), 2)
    latents = torch.zeros(1, 4, 2, 2)
    denoise(OnePass(lambda x, _: x), schedule, latents, torch.ones(1), [], [Noted("a"), Noted("b")])
    one = [f"{hook} {name}" for hook in ("before", "combine", "correct", "after") for name in "ab"]
    assert calls == [f"{call} {t}" for t in (500, 0) for call in one]
