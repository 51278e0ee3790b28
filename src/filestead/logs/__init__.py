"""The log: its formats, and how lines of requests are written without delaying the event loop."""
