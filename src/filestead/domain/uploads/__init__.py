"""Uploads in parts: an upload is created, receives its parts in any order, and is completed to a file or cancelled."""
