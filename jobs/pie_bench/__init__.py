"""PIE-Bench (Ju et al. 2024): methods of ``edit`` on the benchmark's pictures, and its table."""
