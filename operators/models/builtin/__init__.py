"""The models that are part of the package, and the rendered scenes that they know."""
