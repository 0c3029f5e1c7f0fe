"""Schedulers by name, known before diffusers is imported; and one run of a scheduler over a batch."""

from __future__ import annotations

import copy
import difflib
import inspect
from typing import TYPE_CHECKING, Any

from operators.errors import ModelError, ValueInvalidError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from operators.diffusion.noise_level import NoiseLevel

_SHORT: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2m_sde_karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "euler_karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "sa_solver": ("SASolverScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    **_SHORT,
    **{name: (name, {}) for name, _ in _SHORT.values()},
    "DDIMParallelScheduler": ("DDIMParallelScheduler", {}),
    "DDPMParallelScheduler": ("DDPMParallelScheduler", {}),
}
"""Class in diffusers, and its options, by short name and by class name: those that sample a Stable Diffusion model."""

_NOISE_LEVELS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
)

LEFT_OUT = {
    "DPMSolverSDEScheduler": "draws one noise for the whole batch",
    "EDMEulerScheduler": "is for models trained on its own noise levels",
}
"""Schedulers that diffusers lists as compatible and that can't be used here, with the reason."""


def check_name(name: str) -> str:
    """The name, if it is a scheduler's.

    Raises:
        ValueError: it is not; the message has the nearest names.
    """
    if name in SCHEDULERS:
        return name
    if name in LEFT_OUT:
        raise ValueError(f"scheduler {name!r} can't be used: it {LEFT_OUT[name]}")
    by_folded = {known.lower(): known for known in SCHEDULERS}
    near = [by_folded[match] for match in difflib.get_close_matches(name.lower(), by_folded, 3, 0.5)]
    advice = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(_SHORT)}"
    raise ValueError(f"there is no scheduler {name!r}; {advice}")


def build(name: str | None, own: Any) -> Any:
    """The scheduler called ``name`` with the noise levels of the model's ``own``; that one itself where none is named.

    Raises:
        ModelError: the scheduler needs a package that isn't installed.
    """
    import diffusers

    if name is None:
        return own
    class_name, options = SCHEDULERS[name]
    # from_config leaves out what the model's scheduler had by default, and defaults differ between classes.
    levels = {key: own.config[key] for key in _NOISE_LEVELS}
    try:
        return getattr(diffusers, class_name).from_config(own.config, **levels, **options)
    except ImportError as error:
        raise ModelError(
            f"scheduler {name!r} can't be loaded: {(str(error).strip().splitlines() or [''])[0]}"
        ) from None


def steps_taken(steps: int, strength: float) -> int:
    """How many of the steps are taken, the last ones, to redo a share of them (SDEdit, Meng et al. 2022).

    Raises:
        ValueInvalidError: ``strength`` leaves none, or is above 1.
    """
    taken = int(steps * strength)
    if not 1 <= taken <= steps:
        raise ValueInvalidError(f"strength is {strength}, but must be above 0, up to 1, and redo one of {steps} steps")
    return taken


class Sampling:
    """A scheduler set up for one batch: the timesteps, and what multistep solvers remember between them.

    Args:
        scheduler: a diffusers scheduler; a copy of it is used.
        steps: number of denoising steps of the whole way, from 1 to the number of timesteps trained on.
        device: where the latents are.
        strength: in 0..1, share of the steps that are taken, the last ones (SDEdit, Meng et al. 2022).

    Attributes:
        timesteps: ``(k,)``, from noisy to clean; ``k`` is above ``steps`` for solvers of second order.

    Raises:
        ValueInvalidError: the scheduler can't do this number of steps, or ``strength`` leaves none.
    """

    def __init__(self, scheduler: Any, steps: int, device: torch.device | str = "cpu", strength: float = 1.0) -> None:
        trained = scheduler.config.num_train_timesteps
        if not 1 <= steps <= trained:
            raise ValueInvalidError(f"steps is {steps}, but must be in 1..{trained}")
        taken = steps_taken(steps, strength)
        self._scheduler = copy.deepcopy(scheduler)
        try:
            self._scheduler.set_timesteps(steps, device=device)
        except ValueError as error:
            raise ValueInvalidError(f"steps is {steps}: {error}") from None
        skipped = (steps - taken) * self._scheduler.order
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(skipped)
        self.timesteps: Tensor = self._scheduler.timesteps[skipped:]
        self._draws = "generator" in inspect.signature(self._scheduler.step).parameters

    def noisy(self, noise: Tensor, clean: Tensor | None = None) -> Tensor:
        """The latents to begin with: ``noise`` at the first timestep's scale, on top of ``clean`` latents if given."""
        if clean is None:
            scaled: Tensor = noise * self._scheduler.init_noise_sigma
            return scaled
        return self.noised(clean, noise, self.timesteps[0])

    def noised(self, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """Noise on top of clean latents, as the first timestep has it, or the one that the last step led to."""
        added: Tensor = self._scheduler.add_noise(clean, noise, timestep.repeat(len(clean)))
        return added

    def scale(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """What the network is given of the latents at a timestep."""
        scaled: Tensor = self._scheduler.scale_model_input(latents, timestep)
        return scaled

    def level(self, timestep: Tensor) -> NoiseLevel:
        """What the network is given at a timestep, which is scaled to be of variance 1, is made of."""
        import torch

        from operators.diffusion.noise_level import NoiseLevel

        picture = torch.ones(1, 1, 1, 1, device=timestep.device)
        kept = self.scale(self.noised(picture, torch.zeros_like(picture), timestep), timestep).clamp(min=1e-4)
        return NoiseLevel(kept, (1 - kept.square()).sqrt(), self._scheduler.config.prediction_type)

    def prediction(self, predicted: Tensor, latents: Tensor, timestep: Tensor) -> Tensor:  # noqa: ARG002
        """The prediction as it is: the scheduler knows what its model predicts."""
        return predicted

    def step(self, predicted: Tensor, timestep: Tensor, latents: Tensor, generators: list[torch.Generator]) -> Tensor:
        """The latents one timestep on; noise that the sampler adds is drawn from each row's own generator."""
        draws = {"generator": generators} if self._draws else {}
        moved: Tensor = self._scheduler.step(predicted, timestep, latents, **draws, return_dict=False)[0]
        return moved
