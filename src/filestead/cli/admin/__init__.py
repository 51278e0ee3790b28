"""The commands of a server: serve, keys, upkeep."""
