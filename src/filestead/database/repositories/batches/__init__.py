"""Batches, their journal, and events for the webhook, in SQL."""
