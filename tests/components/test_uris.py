import pytest

from components.uris import is_local_path, redact_credentials


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:pass@host/set.zip?sig=secret", "https://host/set.zip"),
        ("https://me:p@ss@host/set.zip", "https://host/set.zip"),
        ("s3://bucket/set.zip", "s3://bucket/set.zip"),
        ("synthetic://?n=40&seed=1", "synthetic://?n=40&seed=1"),
        ("postgresql://me:pass@host:5432/mlflow", "postgresql://host:5432/mlflow"),
        ("cannot read https://host/a?token=secret twice", "cannot read https://host/a twice"),
        ("a folder/with?marks", "a folder/with?marks"),
    ],
)
def test_redacted_uri_has_no_credentials(uri: str, shown: str) -> None:
    assert redact_credentials(uri) == shown


def test_local_path_has_no_scheme() -> None:
    assert is_local_path("/data/set") is True
    assert is_local_path("s3://bucket") is False
