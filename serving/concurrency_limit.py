"""The limit on the number of requests in flight, of REST and gRPC together."""

from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import RETRY_AFTER_SECONDS, ServiceError
from serving.metrics import Metrics


class ConcurrencyLimit:
    """Admits up to `limit` requests at a time, for one event loop."""

    def __init__(self, limit: int, metrics: Metrics):
        self._limit, self._count = limit, 0
        self._gauge = metrics.in_flight

    def check(self) -> None:
        """Raise ServiceError `too_busy` if no slot is free."""
        if self._count >= self._limit:
            raise ServiceError("too_busy", f"too many requests in flight (limit {self._limit}); retry in {RETRY_AFTER_SECONDS} s")

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a slot for the duration of the block, or raise ServiceError `too_busy`."""
        self.check()
        self._count += 1
        self._gauge.set(self._count)
        try:
            yield
        finally:
            self._count -= 1
            self._gauge.set(self._count)
