"""What the client commands do, one module for each resource."""
