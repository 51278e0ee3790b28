"""The client of HTTP/1.1 for requests to model servers and to object stores, within the policy of `egress.py`."""
