"""Batches: files of requests that run against an OpenAI-compatible endpoint."""
