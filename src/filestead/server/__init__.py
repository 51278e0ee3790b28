"""The server: its processes and sockets, and HTTP/1.1 connections."""
