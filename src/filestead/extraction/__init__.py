"""Documents to text, and text to chunks; plain functions for a process with limits (`sandbox/`)."""
