"""What to run: jobs, their sources, plans, runs and results."""
