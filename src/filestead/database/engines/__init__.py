"""Connections, threads and transactions of SQLite and PostgreSQL. Nothing here knows a table of the product."""
