"""Filestead: the OpenAI Files API on your own machines."""

__version__ = "0.1.0"
