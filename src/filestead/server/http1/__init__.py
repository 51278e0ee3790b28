"""What a connection may do before it is a request, and after its response."""
