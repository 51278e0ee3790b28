"""Runs a function on untrusted content in a process with limits; knows nothing of what the function does."""
