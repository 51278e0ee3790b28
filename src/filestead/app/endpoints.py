"""The endpoints of batches and of requests that are passed on, built from the settings."""

from filestead.domain.batches.observation import UNOBSERVED_BATCHES, BatchObserver
from filestead.egress import Egress, origin_of
from filestead.endpoint_settings import DEFAULT_NAME, UpstreamEntry
from filestead.inference.endpoints import EndpointConfig, Endpoints
from filestead.settings import Settings


def build_endpoints(settings: Settings, observer: BatchObserver = UNOBSERVED_BATCHES) -> Endpoints:
    """Build the endpoints: that of the variables first, then those of the configuration file."""

    def egress_of(url: str) -> Egress:
        return Egress([origin_of(url)], allow_link_local=settings.allow_link_local)

    configs = [_config(entry, settings) for entry in settings.upstreams]
    if settings.upstream_url is not None:
        entry = UpstreamEntry(
            name=DEFAULT_NAME,
            url=(settings.upstream_url,),
            api_key=settings.upstream_api_key,
            files=settings.upstream_files,
            chat_ttft_p95=settings.upstream_chat_ttft_p95,
            priority=settings.upstream_priority,
        )
        configs.insert(0, _config(entry, settings))
    return Endpoints(configs, egress_of, observer=observer)


def _config(entry: UpstreamEntry, settings: Settings) -> EndpointConfig:
    key = entry.api_key
    return EndpointConfig(
        entry.name,
        entry.url,
        None if key is None else key.get_secret_value(),
        entry.models,
        entry.max_concurrency or settings.upstream_max_concurrency,
        entry.timeout_seconds or settings.upstream_timeout,
        entry.files,
        entry.chat_ttft_p95,
        entry.priority,
    )
