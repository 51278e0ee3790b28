"""Why a request to a server brought no response. The texts never hold the key, nor content of a response."""


class EndpointFailure(Exception):
    """No complete response."""


class EndpointUnreachable(EndpointFailure):
    """There is no connection: refused, no address, TLS, the policy of destinations, or no time left to connect."""


class EndpointRefused(EndpointUnreachable):
    """The policy of destinations (`egress.py`) refuses the connection."""


class EndpointTimeout(EndpointFailure):
    """The response was not complete in time."""


class EndpointBroken(EndpointFailure):
    """The connection ended early, or the response is malformed or exceeds a limit."""
