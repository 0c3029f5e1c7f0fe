"""Files and objects wherever fsspec reaches: read, listed, written whole, and what goes wrong with them."""
