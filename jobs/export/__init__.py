"""Publishing: a finished sink as a dataset with the columns that trainers expect, and what tells of it."""
