"""Metrics of edits and pictures."""

from operators.score.metrics import Metric
from operators.score.presets import Lpips, Preset
from operators.score.spec import Score

__all__ = ["Lpips", "Metric", "Preset", "Score"]
