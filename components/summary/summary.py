"""Summarise a run of the pipeline."""

from components.uris import redact_credentials


def summarize(source: str, *, state: str, run: str, error: str | None) -> str:
    """Return Markdown with the run's final state, its source and, if it failed, the error."""
    lines = [f"**Run {run.rsplit('/', 1)[-1]}: {state.lower()}**", "", f"- data: `{redact_credentials(source)}`"]
    if error:
        lines.append(f"- error: {redact_credentials(error)}")
    return "\n".join(lines) + "\n"
