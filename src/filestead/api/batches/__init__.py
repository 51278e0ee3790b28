"""Operations on batches: handlers, parsing of requests, responses with results, shapes of responses."""
