"""Operations on uploads in parts: handlers, parsing of requests, what the OpenAPI document says."""
