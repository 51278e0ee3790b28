"""Vector stores: files that are attached to a store are indexed and found by search."""
