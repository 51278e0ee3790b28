"""Uploads in parts; private."""
