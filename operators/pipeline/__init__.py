"""``pipeline``: any pipeline of diffusers over the rows of a table."""

from operators.pipeline.spec import Pipeline, Product

__all__ = ["Pipeline", "Product"]
