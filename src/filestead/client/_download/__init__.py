"""Receiving content and resuming it; private."""
