"""The web page's settings, read from environment variables."""

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from brain_tumor.overlay import ColourMap
from brain_tumor.settings import Port

MIN_SERIES_BYTES = 16 * 2**20  # more than one slice, whose limit is 10 MB


class Settings(BaseSettings):
    """Each field is the environment variable of that name in capitals."""

    api_url: str = Field(default="http://localhost:8080", description="URL of the transformer, or of the gateway in front of it.")
    api_token: str = Field(default="", description="Token sent as `Authorization: Bearer`; empty if the API requires none.")
    page_port: Port = Field(default=8501, description="Port of the page.")
    page_path: str = Field(default="", description="Path of the page behind a reverse proxy, such as /brain; empty for its root.")
    session_minutes: float = Field(
        default=10, gt=0, le=1440, description="Minutes for which slices and results outlive a lost connection or a closed page."
    )
    max_series_bytes: int = Field(
        default=512 * 2**20, ge=MIN_SERIES_BYTES, description="Maximum size of the files of a series; as in the service."
    )
    series_seconds: float = Field(
        default=300, gt=0, le=3600, description="Seconds after which the service gives a series up; as in the service."
    )
    metrics_port: Port = Field(default=9464, description="Port of the Prometheus metrics.")
    colour_map: ColourMap = Field(default="inferno", description="Colours of the overlay: inferno, viridis or cividis.")

    @field_validator("api_url")
    @classmethod
    def _check_url(cls, text: str) -> str:
        parts = urlsplit(text)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("got a user, a password or a query, expected a plain URL; put a secret into API_TOKEN")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"got {text!r}, expected a URL such as http://localhost:8080")
        return text.rstrip("/")

    @field_validator("api_token")
    @classmethod
    def _check_token(cls, text: str) -> str:
        token = text.strip()
        if not re.fullmatch(r"[\x21-\x7e]*", token):
            raise ValueError("got a blank or a non-ASCII character, expected printable ASCII, as in any HTTP header")
        return token

    @field_validator("page_path")
    @classmethod
    def _check_path(cls, text: str) -> str:
        path = text.rstrip("/")
        if path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII):
            raise ValueError(f"got {text!r}, expected a path such as /brain, or nothing")
        return path
