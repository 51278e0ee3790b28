"""Files: their model, what their backends must do, and the rules of uploads, downloads, expiry, sweeps and checks."""
