"""Metrics: the table that declares them, their values in shared memory, and the Prometheus text."""
