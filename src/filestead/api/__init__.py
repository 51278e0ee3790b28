"""HTTP in, domain call, HTTP out. The only place that knows status codes, headers and multipart."""
