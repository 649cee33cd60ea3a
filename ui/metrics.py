"""The web page's Prometheus metrics. Imported once per process, as Streamlit reruns app.py alone."""

from prometheus_client import Counter, Gauge, Histogram

# answered: prediction shown; refused: invalid image; failed: no prediction from the service.
OUTCOMES = ("answered", "refused", "failed")
BUCKETS_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

SESSIONS = Gauge("brain_tumor_ui_sessions", "Open browser sessions.")
UPLOADS = Counter("brain_tumor_ui_uploads", "Uploaded images by outcome.", ("outcome",))
SERIES = Counter("brain_tumor_ui_series", "Series by outcome.", ("outcome",))
REQUEST_SECONDS = Histogram(
    "brain_tumor_ui_request_seconds", "Duration in seconds of one request to the service.", buckets=BUCKETS_SECONDS
)

for outcome in OUTCOMES:
    UPLOADS.labels(outcome)
    SERIES.labels(outcome)
