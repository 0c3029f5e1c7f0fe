"""Commands of the command line that reach further than this machine, and what all commands have in common."""
