"""Sending a request and receiving its response; private."""
