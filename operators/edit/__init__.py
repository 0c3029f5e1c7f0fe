"""``edit``: change what pictures show, by one of several methods."""

from operators.edit.base import Edit
from operators.edit.cycle import Cycle
from operators.edit.diffedit import DiffEdit
from operators.edit.img2img import Img2Img
from operators.edit.inpaint import Inpaint
from operators.edit.instruct import Instruct
from operators.edit.pix2pix_zero import Pix2PixZero

METHODS: tuple[type[Edit], ...] = (Pix2PixZero, DiffEdit, Img2Img, Inpaint, Instruct, Cycle)
"""Every method, in the order in which they are listed."""

__all__ = ["METHODS", "Cycle", "DiffEdit", "Edit", "Img2Img", "Inpaint", "Instruct", "Pix2PixZero"]
