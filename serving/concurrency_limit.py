"""The limit on the number of requests in flight, of REST and gRPC together."""

from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import RETRY_AFTER_SECONDS, ServiceError
from serving.metrics import Metrics


class ConcurrencyLimit:
    """Admits up to `limit` requests at a time, for one event loop.

    Args:
        limit: Maximum number of requests.
        metrics: The transformer's metrics, whose `in_flight` counts the requests of all limits.
        kind: What they are, for the error message.
    """

    def __init__(self, limit: int, metrics: Metrics, kind: str = "requests"):
        self._limit, self._kind, self._count = limit, kind, 0
        self._gauge = metrics.in_flight

    def check(self) -> None:
        """Raise ServiceError `too_busy` if no slot is free."""
        if self._count >= self._limit:
            raise ServiceError(
                "too_busy", f"too many {self._kind} in flight (limit {self._limit}); retry in {RETRY_AFTER_SECONDS} s"
            )

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a slot for the duration of the block, or raise ServiceError `too_busy`."""
        self.check()
        self._count += 1
        self._gauge.inc()
        try:
            yield
        finally:
            self._count -= 1
            self._gauge.dec()
