"""Projects, keys and usage over HTTP."""
