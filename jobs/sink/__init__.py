"""What a sink holds beside rows: which parts count, who writes, what was done, and what was rejected."""
