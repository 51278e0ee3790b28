"""What HTTP asks of every route: middleware, bodies, forms, ranges, errors, limits of a client."""
