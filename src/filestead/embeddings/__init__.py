"""Embeddings of texts: static vectors that ship inside a package, or an OpenAI-compatible server."""
