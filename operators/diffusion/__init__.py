"""The denoising loop, batch first, and what plugs into it. Only ``schedulers`` can be imported without torch."""
