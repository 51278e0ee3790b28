"""How connections are served: the HTTP protocol under the ASGI app."""
