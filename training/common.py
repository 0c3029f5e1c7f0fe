"""What the recipes share: endless scenes, a learning-rate curve, an average of weights, a resumable loop."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from operators.models.builtin.scenes import TRAINING_SERIES, Scene, draw, scene


@dataclass(frozen=True)
class Settings:
    """How long and where one recipe trains."""

    out: Path
    steps: int
    batch: int
    learning_rate: float
    device: torch.device
    seed: int
    save_every: int


def settings(steps: int, batch: int, learning_rate: float) -> Settings:
    """Read the command line that all recipes have in common."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True, help="folder of the models and their checkpoints")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500, help="steps between two checkpoints")
    given = vars(parser.parse_args())
    torch.set_num_threads(given.pop("threads"))
    torch.manual_seed(given["seed"])
    given["device"] = torch.device(given["device"])
    given["out"].mkdir(parents=True, exist_ok=True)
    return Settings(**given)


def scenes(first: int, count: int, series: int = TRAINING_SERIES) -> list[Scene]:
    """Scenes number ``first`` and on of one series."""
    return [scene(index, series) for index in range(first, first + count)]


def pixels(items: list[Scene], device: torch.device) -> Tensor:
    """Pictures of scenes as ``(n, 3, 64, 64)`` in -1..1."""
    return as_tensor(draw(items), device)


def as_tensor(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """RGB pictures ``(n, 64, 64, 3)`` as ``(n, 3, 64, 64)`` in -1..1."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def train(
    name: str,
    models: dict[str, nn.Module],
    loss: Callable[[int], Tensor],
    plan: Settings,
    save: Callable[[dict[str, nn.Module]], None],
) -> None:
    """Run AdamW over ``loss(step)`` and hand the averaged weights to ``save``; goes on from the last checkpoint.

    The learning rate warms up over 200 steps and falls to zero along a half cosine; weights are averaged with a
    decay that grows to 0.999.
    """
    weights = [weight for model in models.values() for weight in model.parameters()]
    optimiser = torch.optim.AdamW(weights, plan.learning_rate, weight_decay=1e-4, betas=(0.9, 0.99), fused=True)
    averaged = {
        key: torch.optim.swa_utils.AveragedModel(model, avg_fn=_average).requires_grad_(False)
        for key, model in models.items()
    }
    checkpoint = plan.out / f"{name}.ckpt"
    first = _restore(checkpoint, models, averaged, optimiser)
    started, recent = time.monotonic(), 0.0
    for step in range(first, plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.learning_rate * _curve(step, plan.steps)
        torch.manual_seed(plan.seed * 1_000_003 + step)
        value = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        for key, model in models.items():
            averaged[key].update_parameters(model)
        recent += float(value.detach())
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            pace = (time.monotonic() - started) / (step + 1 - first)
            print(f"{name} {step + 1}/{plan.steps} loss {recent / plan.save_every:.5f} {pace:.3f} s/step", flush=True)
            recent = 0.0
            _keep(checkpoint, step + 1, models, averaged, optimiser)
            save({key: model.module for key, model in averaged.items()})


def _average(kept: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
    decay = min(0.999, (1 + int(count)) / (10 + int(count)))
    return kept.lerp(new, 1 - decay) if kept.is_floating_point() else new


def _curve(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _keep(
    path: Path, step: int, models: dict[str, nn.Module], averaged: dict, optimiser: torch.optim.Optimizer
) -> None:
    state = {
        "step": step,
        "models": {key: model.state_dict() for key, model in models.items()},
        "averaged": {key: model.state_dict() for key, model in averaged.items()},
        "optimiser": optimiser.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _restore(path: Path, models: dict[str, nn.Module], averaged: dict, optimiser: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for key, model in models.items():
        model.load_state_dict(state["models"][key])
        averaged[key].load_state_dict(state["averaged"][key])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def amend(path: Path, **changes: object) -> None:
    """Change values of a saved config; None takes one out."""
    config = json.loads(path.read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    path.write_text(json.dumps(kept, indent=2) + "\n")
