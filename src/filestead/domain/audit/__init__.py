"""The audit log: events, the chain that protects them, and denials of access."""
