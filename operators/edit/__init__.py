"""``edit``: change what pictures show, by one of several methods."""
