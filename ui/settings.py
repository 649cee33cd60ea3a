"""The web page's settings, read from environment variables."""

import re

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from brain_tumor.overlay import ColourMap
from brain_tumor.settings import Port, Token, check_url

MIN_SERIES_BYTES = 16 * 2**20  # more than one slice, whose limit is 10 MB


class Settings(BaseSettings):
    """Each field is the environment variable of that name in capitals."""

    api_url: str = Field(default="http://localhost:8080", description="URL of the transformer, or of the gateway in front of it.")
    api_token: Token = Field(default="", description="Token sent as `Authorization: Bearer`; empty if the API requires none.")
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
        return check_url(text, example="http://localhost:8080", secrets="a secret into API_TOKEN")

    @field_validator("page_path")
    @classmethod
    def _check_path(cls, text: str) -> str:
        path = text.rstrip("/")
        if path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII):
            raise ValueError(f"got {text!r}, expected a path such as /brain, or nothing")
        return path
