"""Workers: claim durable jobs, keep their leases, and run the handler of each kind."""
