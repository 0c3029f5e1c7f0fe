"""How far pictures come back from the noise that they were inverted to, by every way to invert exactly.

Each figure is a list: at guidance 1, at guidance 3.

NAME         dB between pictures made again and the autoencoder's own, mean over scenes
NAME_evals   network evaluations per step of the inversion
NAME_std     standard deviation of the final latents; those of noise have 1
NAME_alone   dB from the final latents by themselves, for samplers that need a second tensor
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common
import torch
from torch import Tensor

from operators.diffusion.ddim import Ddim
from operators.diffusion.family import load_family
from operators.diffusion.inversion import invert_exactly
from operators.diffusion.loop import denoise, guide
from operators.diffusion.noise import row_generators
from operators.diffusion.regularisation import Regularisation
from operators.models.builtin.scenes import HELD_OUT_SERIES, draw, scene
from operators.models.loading import diffusion_files
from operators.models.ref import ModelRef

STEPS = 50
EDICT_MIXING = 0.93
COSTLY = ("fixed_point_3", "fixed_point_5", "renoise", "edict")


class Network:
    """The built-in model on a batch of scenes, counting how often it is asked."""

    def __init__(self, rows: int, guidance: float) -> None:
        self.family = load_family(diffusion_files(ModelRef("builtin:stable-diffusion")), torch.device("cpu"))
        shown = [scene(index, HELD_OUT_SERIES) for index in range(20_000, 20_000 + rows)]
        pixels = torch.from_numpy(draw(shown)).permute(0, 3, 1, 2) / 127.5 - 1
        self.clean = self.family.encode_images(pixels, None)
        told = [self.family.encode_prompts([item.caption for item in shown])]
        if guidance > 1:
            told.insert(0, self.family.encode_negative_prompts([""] * rows))
        self._predict = self.family.predictor(*told)
        self.passes = self._predict.passes
        self.scale = torch.full((rows,), guidance)
        self.ddim = Ddim(self.family.scheduler, STEPS)
        self.asked = 0

    def __call__(self, inputs: Tensor, timestep: Tensor) -> Tensor:
        self.asked += 1
        return self._predict(inputs, timestep)

    def noise(self, latents: Tensor, place: int, level: int) -> Tensor:
        """The noise in latents at a level, asked for with a step's own timestep."""
        passes = self(latents.expand(self.passes, *latents.shape), self.ddim.timesteps[place])
        return self.ddim.epsilon(guide(passes, self.scale), latents, level)

    def back(self, latents: Tensor) -> Tensor:
        return denoise(self, self.ddim.sampling(), latents, self.scale, [])

    def psnr(self, latents: Tensor) -> float:
        error = (self.family.decode(latents) - self.family.decode(self.clean)).square().mean((1, 2, 3))
        return round(float((-10 * error.log10()).nan_to_num(0).mean()), 1)


def plain(net: Network) -> Tensor:
    return denoise(net, net.ddim.inverting(), net.clean, net.scale, [])


def regularised(net: Network) -> Tensor:
    calm = Regularisation(row_generators(range(len(net.clean))))
    return denoise(net, net.ddim.inverting(), net.clean, net.scale, [], [calm])


def anderson(net: Network) -> Tensor:
    return invert_exactly(net, net.ddim, net.clean, net.scale)


def guesses(net: Network, latents: Tensor, level: int, evaluations: int) -> list[Tensor]:
    """Fixed-point iteration (AIDI, Pan et al. 2023): what the step up leads to with the noise of the guess before."""
    found = [latents]
    for _ in range(evaluations):
        found.append(net.ddim.move(net.noise(found[-1], level, level + 1), latents, level, level + 1))
    return found[1:]


def fixed_point(evaluations: int) -> Callable[[Network], Tensor]:
    def way(net: Network) -> Tensor:
        latents = net.clean
        for level in range(STEPS):
            latents = guesses(net, latents, level, evaluations)[-1]
        return latents

    return way


def renoise(net: Network) -> Tensor:
    """ReNoise (Garibi et al. 2024, algorithm 1), the mean of the last guesses; DDIM adds no noise to correct."""
    latents = net.clean
    for level in range(STEPS):
        early = int(net.ddim.timesteps[level]) < 250
        found = guesses(net, latents, level, 5 if early else 10)
        latents = torch.stack(found if early else found[-2:]).mean(0)
    return latents


def edict(net: Network) -> tuple[Tensor, Tensor]:
    """EDICT (Wallace et al. 2023, eq. 14 and 15): two tensors, each stepped with the noise of the other, and mixed."""
    p, x, y = EDICT_MIXING, net.clean, net.clean
    for level in range(STEPS):
        y_mid = (y - (1 - p) * x) / p
        x_mid = (x - (1 - p) * y_mid) / p
        y = net.ddim.move(net.noise(x_mid, level, level + 1), y_mid, level, level + 1)
        x = net.ddim.move(net.noise(y, level, level + 1), x_mid, level, level + 1)
    return x, y


def edict_back(net: Network, x: Tensor, y: Tensor) -> Tensor:
    p = EDICT_MIXING
    for level in range(STEPS, 0, -1):
        x_mid = net.ddim.move(net.noise(y, level - 1, level), x, level, level - 1)
        y_mid = net.ddim.move(net.noise(x_mid, level - 1, level), y, level, level - 1)
        x = p * x_mid + (1 - p) * y_mid
        y = p * y_mid + (1 - p) * x
    return x


def bdia(net: Network) -> tuple[Tensor, Tensor]:
    """BDIA with gamma 1 (Zhang et al. 2024, eq. 18): down less up, from the latents before the last."""
    ddim, below = net.ddim, net.clean
    here = ddim.move(net.noise(below, 0, 0), below, 0, 1)
    for level in range(1, STEPS):
        noise = net.noise(here, level - 1, level)
        down, up = (ddim.move(noise, here, level, to) for to in (level - 1, level + 1))
        below, here = here, below - down + up
    return here, below


def bdia_back(net: Network, above: Tensor, here: Tensor) -> Tensor:
    for level in range(STEPS - 1, 0, -1):
        noise = net.noise(here, level - 1, level)
        down, up = (net.ddim.move(noise, here, level, to) for to in (level - 1, level + 1))
        above, here = here, above + down - up
    return here


def belm_weights(ddim: Ddim, level: int) -> tuple[float, float, float]:
    """Weights of the level above, this one, and the noise (O-BELM, Wang et al. 2024, eq. 18), in latents over share."""
    noisier, here, cleaner = (((1 - share) / share) ** 0.5 for share in (ddim.levels[level + k] for k in (1, 0, -1)))
    far, near = noisier - here, here - cleaner
    return (near / far) ** 2, 1 - (near / far) ** 2, -near * (near + far) / far


def belm(net: Network) -> tuple[Tensor, Tensor]:
    ddim, below = net.ddim, net.clean
    here = ddim.move(net.noise(below, 0, 0), below, 0, 1)
    for level in range(1, STEPS):
        far, near, share = belm_weights(ddim, level)
        root = [ddim.levels[level + k] ** 0.5 for k in (-1, 0, 1)]
        noise = net.noise(here, level - 1, level)
        below, here = here, root[2] * (below / root[0] - near * here / root[1] - share * noise) / far
    return here, below


def belm_back(net: Network, above: Tensor, here: Tensor) -> Tensor:
    for level in range(STEPS - 1, 0, -1):
        far, near, share = belm_weights(net.ddim, level)
        root = [net.ddim.levels[level + k] ** 0.5 for k in (-1, 0, 1)]
        noise = net.noise(here, level - 1, level)
        above, here = here, root[0] * (far * above / root[2] + near * here / root[1] + share * noise)
    return here


def down_once(net: Network, latents: Tensor) -> Tensor:
    """One step of DDIM from noise, for samplers that need two levels."""
    return net.ddim.move(net.noise(latents, STEPS - 1, STEPS), latents, STEPS, STEPS - 1)


ONE: dict[str, Callable[[Network], Tensor]] = {
    "plain": plain,
    "regularised": regularised,
    "fixed_point_2": fixed_point(2),
    "fixed_point_3": fixed_point(3),
    "fixed_point_5": fixed_point(5),
    "renoise": renoise,
    "exact": anderson,
}
TWO: dict[str, tuple[Any, Any, Any]] = {
    "edict": (edict, edict_back, lambda _, latents: latents),
    "bdia": (bdia, bdia_back, down_once),
    "belm": (belm, belm_back, down_once),
}


def measure(quick: bool) -> dict[str, Any]:
    """Every way on the same scenes, at both guidance scales; without the four that cost most if it is to be quick."""
    rows = 1 if quick else 32
    ways = [name for name in (*ONE, *TWO) if not (quick and name in COSTLY)]
    figures: dict[str, Any] = {}
    with torch.no_grad():
        for guidance in (1.0, 3.0):
            net = Network(rows, guidance)
            for name in ways:
                for key, value in one_way(net, name).items():
                    figures.setdefault(key, []).append(value)
    return {**figures, "scenes": rows}


def one_way(net: Network, name: str) -> dict[str, float]:
    net.asked = 0
    if name in ONE:
        noise = ONE[name](net)
        evaluations, alone = net.asked / STEPS, {}
        psnr = net.psnr(net.back(noise))
    else:
        there, back, second = TWO[name]
        noise, other = there(net)
        evaluations = net.asked / STEPS
        psnr = net.psnr(back(net, noise, other))
        alone = {f"{name}_alone": net.psnr(back(net, noise, second(net, noise)))}
    found = {name: psnr, f"{name}_evals": round(evaluations, 2), f"{name}_std": round(float(noise.std()), 3)}
    return found | alone


if __name__ == "__main__":
    common.main(measure, __doc__)
