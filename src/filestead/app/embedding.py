"""What embeds texts, built from the settings."""

from filestead.domain.vector_stores.embeddings import LOCAL_MODEL, UPSTREAM_PREFIX, Embedders
from filestead.egress import Egress, origin_of
from filestead.embeddings.embedders import ConfiguredEmbedders
from filestead.embeddings.upstream import Upstream
from filestead.settings import Settings


def build_embedders(settings: Settings) -> Embedders | None:
    """Build what embeds; None if embeddings are off. Raises `CannotStart` if a package is missing."""
    if settings.embeddings == "off":
        return None
    target = LOCAL_MODEL if settings.embeddings == "local" else f"{UPSTREAM_PREFIX}{settings.embeddings_model}"
    return ConfiguredEmbedders(target, _upstream(settings))


def _upstream(settings: Settings) -> Upstream | None:
    url = settings.upstream_url
    if url is None:
        return None
    key = settings.upstream_api_key
    egress = Egress([origin_of(url)], allow_link_local=settings.allow_link_local)
    return Upstream(url, None if key is None else key.get_secret_value(), egress)
