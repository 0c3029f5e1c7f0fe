"""What latents at one noise level are made of, and what a network's answer says about them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What networks are trained to predict: the noise, the velocity, or the picture."""


@dataclass(frozen=True)
class NoiseLevel:
    """One noise level: latents are ``kept`` times the picture and ``noise`` times standard normal noise.

    Attributes:
        kept: the picture's share, above 0.
        noise: the noise's share; the squares of both add up to 1.
        prediction: what the network predicts, one of :data:`PREDICTIONS`.
    """

    kept: float | Tensor
    noise: float | Tensor
    prediction: str

    def epsilon(self, predicted: Tensor, latents: Tensor) -> Tensor:
        """The noise in latents, of what the network predicted (Salimans and Ho 2022, appendix D)."""
        match self.prediction:
            case "v_prediction":
                return self.kept * predicted + self.noise * latents
            case "sample":
                return (latents - self.kept * predicted) / self.noise
        return predicted

    def predicted(self, change: Tensor) -> Tensor:
        """What to add to the network's answer, so that the noise that it stands for changes by so much."""
        match self.prediction:
            case "v_prediction":
                return change / self.kept
            case "sample":
                return change * (-self.noise / self.kept)
        return change

    def clean(self, epsilon: Tensor, latents: Tensor) -> Tensor:
        """The picture that latents would be without their noise."""
        return (latents - self.noise * epsilon) / self.kept

    def noised(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Noise on top of clean latents."""
        return self.kept * clean + self.noise * noise
