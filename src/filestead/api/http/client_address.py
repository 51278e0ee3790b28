"""The address of a client, also behind trusted proxies."""

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from filestead.api.http.messages import Request
from filestead.domain.address_group import address_group

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ClientAddressResolver:
    """Determines the client of a request. Only entries of `X-Forwarded-For` added by trusted proxies are used."""

    trusted_proxies: Collection[Network] = ()

    def resolve(self, request: Request) -> str:
        """Return the client's address as limits by address count it: see `address_group`."""
        host = request.client_host
        if self.trusted_proxies and self._is_trusted(host):
            # Each proxy appends the address of its own client, so entries on the left can be forged.
            forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
            hosts = [text.strip() for text in forwarded if text.strip()]
            while hosts and self._is_trusted(host):
                host = hosts.pop()
        return address_group(host)

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.trusted_proxies)
