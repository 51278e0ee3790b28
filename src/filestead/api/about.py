"""What this server is: for people at its root, and for tools that try a base URL."""

from filestead import __version__, wire

ABOUT = wire.About(
    name="Filestead",
    version=__version__,
    description="The OpenAI Files API, self-hosted.",
    links={
        "files": "/v1/files",
        "openapi": "/openapi.json",
        "health": "/health",
        "api_reference": "https://platform.openai.com/docs/api-reference/files",
    },
)
