"""Filestead beside nginx, on one machine in one run. README.md says what is measured and how to read it."""
