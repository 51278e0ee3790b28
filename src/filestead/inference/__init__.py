"""Requests to OpenAI-compatible model servers, as many at a time as each of them handles well."""
