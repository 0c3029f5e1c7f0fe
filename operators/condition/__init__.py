"""``condition``: make of pictures what controls are steered by, by one of several methods."""

from operators.condition.base import Condition
from operators.condition.canny import Canny
from operators.condition.depth import Depth
from operators.condition.lineart import Lineart
from operators.condition.pose import Pose
from operators.condition.scribble import Scribble
from operators.condition.segmentation import Segmentation

METHODS: tuple[type[Condition], ...] = (Canny, Scribble, Lineart, Depth, Segmentation, Pose)
"""Every method, in the order in which they are listed."""

__all__ = ["METHODS", "Canny", "Condition", "Depth", "Lineart", "Pose", "Scribble", "Segmentation"]
