"""What :func:`jobs.verify.verify` is made of: one part, all parts together, models, and the verdict."""
