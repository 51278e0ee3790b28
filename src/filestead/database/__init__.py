"""Rows: tables, statements, migrations. The only place with SQL."""
