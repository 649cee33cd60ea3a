from components.summary.summary import summarize


def test_summary_of_a_successful_run_has_its_state_and_source() -> None:
    text = summarize("s3://scans/set.zip", state="SUCCEEDED", run="projects/1/runs/brain-tumor-7", error=None)
    assert text == "**Run brain-tumor-7: succeeded**\n\n- data: `s3://scans/set.zip`\n"


def test_summary_of_a_failed_run_has_the_error() -> None:
    text = summarize("set/", state="FAILED", run="brain-tumor-8", error="ingest: no such folder")
    assert text.splitlines()[0] == "**Run brain-tumor-8: failed**"
    assert text.splitlines()[-1] == "- error: ingest: no such folder"
