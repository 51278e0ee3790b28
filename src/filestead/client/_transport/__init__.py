"""Sending requests and receiving responses; private."""
