"""The transformer's settings, from the environment, and the limits that are part of its API."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from brain_tumor.images import MAX_PIXELS
from brain_tumor.overlay import ColourMap
from brain_tumor.settings import Port

MOUNTED_MODEL = Path("/mnt/models")  # KServe mounts the model there, if the service has one
# The pod's annotations, one file for each setting. Knative accepts a pod that mounts them, but not variables made of them.
POD_SETTINGS = Path("/etc/brain-tumor")
UNVERIFIED = "unverified"
MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_IMAGES = 32
MAX_SLICES = 512  # of a series
DEFAULT_HIGHEST, MAX_HIGHEST = 3, 32  # slices of a series that are explained
CLIENT_TIMEOUT_SECONDS = 30  # for the headers, for the body, and for the receipt of each part of a response
IDLE_SECONDS = 65  # between two requests; longer than the 60 s for which load balancers keep a connection
DRAIN_SECONDS = 30


class Settings(BaseSettings):
    """Each field is read from the environment variable of its name in capitals, else from the file of that name in the pod."""

    model_config = SettingsConfigDict(frozen=True, secrets_dir=POD_SETTINGS if POD_SETTINGS.is_dir() else None)
    model_dir: Path = Field(default=MOUNTED_MODEL, description="Folder of one model version, with assets.extra/model.json.")
    model_digest: str = Field(
        default="", description="Digest of the model's files that was verified. With another one the process ends."
    )
    http_port: Port = Field(default=8080, description="Port of the transformer for REST.")
    grpc_port: Port = Field(default=8081, description="Port of the transformer for gRPC.")
    predictor_host: str = Field(default="localhost:8090", description="Host and REST port of TensorFlow Serving.")
    predictor_timeout_seconds: float = Field(
        default=5.0, gt=0, allow_inf_nan=False, description="Timeout of one call to the predictor."
    )
    max_file_bytes: int = Field(default=10_000_000, gt=0, description="Maximum size of one encoded image.")
    max_pixels: int = Field(default=MAX_PIXELS, gt=0, description="Maximum number of pixels of one image.")
    max_in_flight: int = Field(
        default=16, gt=0, description="Maximum number of requests in flight. Excess requests get 429 at once."
    )
    max_series_bytes: int = Field(
        default=512 * 1024 * 1024, gt=0, description="Maximum size of the body of a series, and of what a zip in it inflates to."
    )
    series_seconds: float = Field(
        default=300.0, gt=0, allow_inf_nan=False, description="Maximum time of a series, from the headers to the last byte."
    )
    pixel_workers: int = Field(
        default=0, ge=0, description="Number of images that are decoded or rendered at a time; 0: the cores of the container."
    )
    cors_origins: str = Field(
        default="", description="Origins whose web pages may call the service, separated by commas, such as https://pacs.example."
    )
    colour_map: ColourMap = Field(
        default="inferno", description="Colour map of the overlay: inferno, viridis, or cividis for colour-vision deficiency."
    )
    otel_exporter_otlp_endpoint: str = Field(
        default="",
        description="URL of an OpenTelemetry collector for traces, such as http://collector:4318; without one there are none.",
    )
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        default="http/protobuf", description="Protocol to the collector: http/protobuf."
    )

    @field_validator("model_digest")
    @classmethod
    def _check_model_digest(cls, digest: str) -> str:
        if digest and digest != UNVERIFIED and not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"got {digest!r}, expected the SHA-256 of a model's files.sha256, or {UNVERIFIED}")
        return "" if digest == UNVERIFIED else digest

    @field_validator("predictor_host")
    @classmethod
    def _check_predictor_host(cls, host: str) -> str:
        if not re.fullmatch(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?", host):
            raise ValueError(f"got {host!r}, expected a host and a port, such as localhost:8090")
        return host

    @field_validator("cors_origins")
    @classmethod
    def _check_cors_origins(cls, origins: str) -> str:
        for origin in cls.split_origins(origins):
            if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
                raise ValueError(f"got {origin!r}, expected *, or a scheme and a host, such as https://pacs.example")
        return origins

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str) -> str:
        if endpoint and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", endpoint):
            raise ValueError("expected an http or https URL of a host, such as http://collector:4318")
        return endpoint

    @staticmethod
    def split_origins(origins: str) -> list[str]:
        """Return the origins of `cors_origins`, in the lower case in which browsers send them."""
        return [origin for origin in map(str.strip, origins.lower().split(",")) if origin]
