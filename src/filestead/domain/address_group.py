"""The unit in which limits by client address count: hosts with several addresses must not multiply their share."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=1_024)
def address_group(host: str) -> str:
    """Return an IPv4 address as it is, and the /64 network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
