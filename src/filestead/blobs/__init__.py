"""Bytes: one module a store, each with the interface `stores.BlobStore`."""
