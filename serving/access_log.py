"""The log line and the metrics of one request, REST or gRPC."""

from serving.logs import logger
from serving.metrics import Metrics


def record_request(metrics: Metrics, *, route: str, status: str, code: str, seconds: float, request_id: str) -> None:
    """Count a request and log it.

    Args:
        metrics: The transformer's metrics.
        route: Path template of the route, or name of the gRPC method.
        status: HTTP status, or name of the gRPC status.
        code: Error code; empty if the request succeeded.
        seconds: Duration of the request.
        request_id: ID that the response carries.
    """
    metrics.requests.labels(route, status).inc()
    metrics.request_seconds.labels(route).observe(seconds)
    if code:
        metrics.rejected.labels(code).inc()
    fields = {"request_id": request_id, "route": route, "status": status, "code": code, "ms": round(seconds * 1e3, 1)}
    logger.info("request", extra={"fields": {name: value for name, value in fields.items() if value != ""}})
