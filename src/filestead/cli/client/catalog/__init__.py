"""The tables of the client commands, one module for each resource; they import none of their handlers."""
