"""How the official clients say that they send a request again."""


def attempt(number: int) -> dict[str, str]:
    """Headers of a request that is sent for the first time (0) or again."""
    return {"X-Stainless-Retry-Count": str(number)}
