"""Connections, threads and transactions of SQLite and PostgreSQL. No noun of the product."""
