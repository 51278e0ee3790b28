"""Bytes: one module a store, each with the interface `BlobStore`."""
