"""Pipelines of diffusers' own classes, tiny, with random weights."""
