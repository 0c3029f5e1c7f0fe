"""Models: what they are called, where they are loaded from, and the tiny ones that come along."""
