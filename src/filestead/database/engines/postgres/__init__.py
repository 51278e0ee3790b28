"""PostgreSQL: `database` runs operations, `server` checks the server and serializes migrations."""
