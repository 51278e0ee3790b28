"""HTTP/1.1 connections: everything before a request reaches the application, and after its response."""
