"""Commands. The only place that prints."""
