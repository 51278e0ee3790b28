"""Portkey's package, with this server in the place of its gateway."""

from portkey_ai import Portkey
from steps import API_KEY, BASE_URL, five

five(Portkey(base_url=BASE_URL, api_key="unused", Authorization=f"Bearer {API_KEY}"))
