"""Jobs that validate and run a batch."""
