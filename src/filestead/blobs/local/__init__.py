"""Blobs in a folder of a local disk."""
