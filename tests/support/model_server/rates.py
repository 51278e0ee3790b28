"""Rate limits of a hosted service: buckets of requests and tokens with their headers, as pure arithmetic."""

import math
from dataclasses import dataclass, field


@dataclass
class Bucket:
    """`limit` units, which come back evenly over `seconds`, or all at once at the end of each window."""

    limit: float
    seconds: float
    is_window: bool = False
    used: float = 0.0
    at: float = 0.0

    def _advance(self, now: float) -> None:
        if self.is_window:
            if now // self.seconds > self.at // self.seconds:
                self.used = 0.0
        else:
            self.used = max(0.0, self.used - (now - self.at) * self.limit / self.seconds)
        self.at = now

    def has(self, amount: float, now: float) -> bool:
        self._advance(now)
        return self.used + amount <= self.limit + 1e-9

    def seconds_until(self, amount: float) -> float:
        if self.is_window:
            return self.seconds - self.at % self.seconds
        return max(0.0, self.used + amount - self.limit) * self.seconds / self.limit

    def headers(self, kind: str) -> dict[str, str]:
        reset = self.seconds_until(0) if self.is_window else self.used * self.seconds / self.limit
        return {
            f"x-ratelimit-limit-{kind}": f"{self.limit:.0f}",
            f"x-ratelimit-remaining-{kind}": f"{max(0.0, self.limit - self.used):.0f}",
            f"x-ratelimit-reset-{kind}": in_words(reset),
        }


@dataclass
class RateLimit:
    """Refuses what exceeds one of the buckets; a refused request is not counted."""

    requests: Bucket | None = None
    tokens: Bucket | None = None
    says_when: bool = True
    """Whether refusals have `retry-after-ms`."""
    hides: set[str] = field(default_factory=set)
    """Headers that are left out."""

    def admit(self, tokens: float, now: float) -> tuple[bool, dict[str, str]]:
        """Whether a request is admitted, and the headers of its response."""
        buckets = {"requests": (self.requests, 1.0), "tokens": (self.tokens, tokens)}
        used = {kind: (bucket, amount) for kind, (bucket, amount) in buckets.items() if bucket is not None}
        admitted = not [kind for kind, (bucket, amount) in used.items() if not bucket.has(amount, now)]
        headers: dict[str, str] = {}
        for kind, (bucket, amount) in used.items():
            bucket.used += amount if admitted else 0.0
            headers |= bucket.headers(kind)
        if not admitted and self.says_when:
            wait = max(bucket.seconds_until(amount) for bucket, amount in used.values())
            headers["retry-after-ms"] = f"{math.ceil(1000 * wait)}"
        return admitted, {name: value for name, value in headers.items() if name not in self.hides}


def in_words(seconds: float) -> str:
    """A duration in the forms of the hosted service: `6m0s`, `1.5s`, `20ms`."""
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms"
    if seconds < 60:
        return f"{seconds:.3f}s"
    return f"{int(seconds // 60)}m{math.ceil(seconds % 60)}s"
