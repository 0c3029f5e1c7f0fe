"""Marks that say that a picture was made by a model: XMP, Content Credentials, and a watermark in the pixels."""
