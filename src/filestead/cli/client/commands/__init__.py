"""The handlers of client commands that do more than send one request and print its response."""
