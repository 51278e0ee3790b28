"""Jobs that deliver an event to the webhook of the settings.

Anything but a response of 2xx is a failure, redirects included, which are not followed. It is repeated as
the policy of its kind says, with the same `webhook-id`.
"""

import asyncio
import http.client
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from filestead import __version__
from filestead.domain.batches.interfaces import WebhookEventRepository
from filestead.domain.batches.observation import UNOBSERVED_BATCHES, BatchObserver
from filestead.domain.errors import DomainError
from filestead.domain.jobs import Job, JobRepository
from filestead.egress import DestinationRefused, Egress
from filestead.wire.webhooks import encode_event, signature_headers

log = logging.getLogger("filestead")

SECONDS = 15.0
SUCCESS = range(200, 300)


class WebhookFailed(DomainError):
    """An event was not delivered, and why; a later attempt may succeed."""

    def __init__(self, text: str, outcome: str) -> None:
        """`outcome` is `refused`, `unreachable`, `timeout` or `status`, for the observer."""
        super().__init__(text)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are sent. The policy `egress` knows its origin; `secret` is `whsec_` and base64."""

    url: str
    secret: str
    egress: Egress


class WebhookHandler:
    """Runs jobs of the kind `webhook`."""

    def __init__(
        self,
        events: WebhookEventRepository,
        jobs: JobRepository,
        webhook: Webhook,
        *,
        now: Callable[[], float],
        observer: BatchObserver = UNOBSERVED_BATCHES,
    ) -> None:
        """`now` returns Unix seconds."""
        self._events = events
        self._jobs = jobs
        self._webhook = webhook
        self._now = now
        self._observer = observer

    async def run(self, job: Job) -> None:
        """Deliver the event. Raises `WebhookFailed` for a retry."""
        event = await self._events.get(job)
        if event is None:
            await self._jobs.finish(job)
            return
        body = encode_event(event.id, event.created_at, event.type, event.batch_id)
        headers = signature_headers(self._webhook.secret, event.id, int(self._now()), body)
        try:
            await asyncio.to_thread(self._send, body, headers)
        except WebhookFailed as failure:
            self._observer.webhook_delivery(failure.outcome)
            raise
        self._observer.webhook_delivery("delivered")
        await self._events.finish(job)
        log.info("the webhook has received %s of %s", event.type, event.batch_id)

    async def give_up(self, job: Job, error: str) -> None:
        """Drop the event, and keep the job as a dead letter."""
        await self._events.give_up(job, error)
        self._observer.webhook_delivery("given_up")

    def _send(self, body: bytes, headers: Mapping[str, str]) -> None:
        url = self._webhook.url
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        more = {"Content-Type": "application/json", "User-Agent": f"Filestead/{__version__}"}
        try:
            with self._webhook.egress.http_connection(url, SECONDS) as (connection, is_expired):
                connection.request("POST", target, body, {**headers, **more})
                status = connection.getresponse().status
                if is_expired():
                    raise WebhookFailed(f"the webhook does not respond within {SECONDS:.0f} seconds", "timeout")
        except DestinationRefused as error:
            raise WebhookFailed(f"the webhook is not called: {error}", "refused") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            outcome = "timeout" if isinstance(error, TimeoutError) else "unreachable"
            raise WebhookFailed(f"the webhook does not respond ({type(error).__name__})", outcome) from None
        if status not in SUCCESS:
            raise WebhookFailed(f"the webhook responded with {status}", "status")
