"""Tables, statements and migrations. No other package contains SQL."""
