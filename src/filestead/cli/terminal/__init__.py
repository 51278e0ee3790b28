"""What the client and the server commands share of a terminal: output, progress, signals."""
