"""Operations on vector stores, attached files and file batches: handlers, parsing of requests, shapes of responses."""
