"""Whose line goes next to a model: projects share its tokens equally, whatever number of batches they have.

A project's share is measured by virtual time, which is advanced by the expected tokens of each line (start-time fair
queueing; the same shares as a deficit round robin, without its bursts).
"""

from filestead.worker.batches.line_queue import LineQueue

TOKENS_PER_SECOND = 1_000
"""An assumed rate, by which a batch of few tokens comes before a large one that expires at about the same time."""


class _Project:
    __slots__ = ("queues", "served")

    def __init__(self, served: float) -> None:
        self.served = served
        """Virtual time: the tokens of its lines so far, or what others had when it came."""
        self.queues: list[LineQueue] = []


class FairQueue:
    """The lines of all batches for one model."""

    def __init__(self) -> None:
        self._projects: dict[str, _Project] = {}
        self._now = 0.0

    def __len__(self) -> int:
        return sum(len(project.queues) for project in self._projects.values())

    def add(self, queue: LineQueue) -> None:
        """Take lines of this queue from now on."""
        project = self._projects.setdefault(queue.project_id, _Project(self._now))
        project.queues.append(queue)

    def remove(self, queue: LineQueue) -> None:
        """Take no more lines of this queue."""
        project = self._projects[queue.project_id]
        project.queues.remove(queue)
        if not project.queues:
            del self._projects[queue.project_id]

    def take(self, now: float, in_flight: int) -> tuple[LineQueue, int] | None:
        """Remove and return the line to send next, with its queue; None if there is none now."""
        for project in sorted(self._projects.values(), key=lambda project: project.served):
            for queue in _by_urgency(project.queues):
                position = queue.take(now, in_flight)
                if position is not None:
                    # A project that had nothing to send for a while does not save its share.
                    self._now = max(self._now, project.served)
                    project.served = self._now + queue.cost(position)
                    return queue, position
        return None

    def put_back(self, queue: LineQueue, position: int) -> None:
        """Return a line that could not be sent."""
        queue.put_back(position)
        if (project := self._projects.get(queue.project_id)) is not None:
            project.served -= queue.cost(position)

    def next_change(self, now: float) -> float | None:
        """When `take` may return lines that it does not return now; None if that is not a matter of time."""
        queues = (queue for project in self._projects.values() for queue in project.queues)
        return min((time for queue in queues if (time := queue.next_change(now)) is not None), default=None)


def _by_urgency(queues: list[LineQueue]) -> list[LineQueue]:
    if len(queues) == 1:
        return queues
    return sorted(queues, key=lambda queue: queue.expires_at + queue.tokens / TOKENS_PER_SECOND)
