"""The commands of a client of the API: the grammar, layouts and messages of the official command line."""
