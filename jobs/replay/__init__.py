"""Rows of a finished sink, made once more and compared with what is there."""
