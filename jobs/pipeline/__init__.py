"""A plan on Ray Data: parts are read, go through the actors of each stage, and are committed."""
