"""The rules: what is allowed, in which order, for how long. Standard library only; no I/O of its own."""
