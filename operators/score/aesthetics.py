"""How pleasing a picture is, by linear layers on CLIP's embedding of it (Schuhmann et al. 2022)."""

from __future__ import annotations

import re
from itertools import pairwise

import torch
from safetensors.torch import load_file
from torch import Tensor

from operators.models.loading import ModelFiles

_OF_CLIP = ("vision_model.", "visual_projection.", "text_model.", "text_projection.")


class Aesthetics:
    """A loaded predictor: linear layers, one after the other with nothing between them, as LAION's are.

    Args:
        files: of the model; weights of a CLIP that lie beside the layers are left out.
        width: numbers of an embedding.
        device: where it runs.

    Raises:
        ModelError: the weights are no linear layers that lead from an embedding to one number.
    """

    def __init__(self, files: ModelFiles, width: int, device: torch.device) -> None:
        tensors = {name: tensor for path in files.weights for name, tensor in load_file(path).items()}
        own = {name: tensor.float().to(device) for name, tensor in tensors.items() if not name.startswith(_OF_CLIP)}
        names = sorted((name for name in own if name.endswith("weight")), key=_numbered)
        self._layers = [(own[name], own.get(f"{name.removesuffix('weight')}bias")) for name in names]
        shapes = [tuple(weight.shape) for weight, _ in self._layers]
        chained = all(len(shape) == 2 for shape in shapes) and all(
            one[0] == next_[1] for one, next_ in pairwise(shapes)
        )
        if not shapes or not chained or (shapes[0][1], shapes[-1][0]) != (width, 1):
            raise files.refuse(f"has no linear layers that lead from CLIP's {width} numbers to one")

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Scores ``(n,)`` of embeddings ``(n, width)`` of length 1."""
        for weight, bias in self._layers:
            embeddings = torch.nn.functional.linear(embeddings, weight, bias)
        return embeddings.flatten()


def _numbered(name: str) -> list[int | str]:
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", name)]
