"""HTTP apart from any resource: middleware, routing, credentials, bodies, forms, ranges, errors, client limits."""
