"""How the built-in models were trained; see README.md beside this file."""
