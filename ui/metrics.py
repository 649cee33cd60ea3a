"""What Prometheus is told of the page. Imported once a process: Streamlit runs only app.py anew."""

from prometheus_client import Counter, Gauge, Histogram

# answered; refused: the image cannot be used; failed: the service gave no answer.
OUTCOMES = ("answered", "refused", "failed")
SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

SESSIONS = Gauge("brain_tumor_ui_sessions", "Pages that are open.")
UPLOADS = Counter("brain_tumor_ui_uploads", "Images by how they ended.", ("outcome",))
REQUEST_SECONDS = Histogram("brain_tumor_ui_request_seconds", "One image, to the service and back.", buckets=SECONDS)

for outcome in OUTCOMES:
    UPLOADS.labels(outcome)
