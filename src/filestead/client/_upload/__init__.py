"""Bodies of uploads; private."""
