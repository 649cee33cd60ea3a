"""The transformer's settings, from the environment, and the limits that are part of its API."""

import re
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from brain_tumor.images import MAX_PIXELS
from brain_tumor.overlay import ColourMap
from brain_tumor.settings import Port

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_IMAGES = 32
BODY_TIMEOUT_SECONDS = 30
DRAIN_SECONDS = 30


class Settings(BaseSettings):
    """Each field is read from the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(frozen=True)
    model_dir: Path = Field(default=Path("/mnt/models"), description="Folder of one model version, with assets.extra/model.json.")
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
    pixel_workers: int = Field(default=2, gt=0, description="Number of images that are decoded or rendered at the same time.")
    cors_origins: str = Field(
        default="", description="Origins whose web pages may call the service, separated by commas, such as https://pacs.example."
    )
    colour_map: ColourMap = Field(
        default="inferno", description="Colour map of the overlay: inferno, viridis, or cividis for colour-vision deficiency."
    )

    @field_validator("cors_origins")
    @classmethod
    def _check_cors_origins(cls, origins: str) -> str:
        for origin in cls.split_origins(origins):
            if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
                raise ValueError(f"got {origin!r}, expected *, or a scheme and a host, such as https://pacs.example")
        return origins

    @staticmethod
    def split_origins(origins: str) -> list[str]:
        """Return the origins of `cors_origins`, in the lower case in which browsers send them."""
        return [origin for origin in map(str.strip, origins.lower().split(",")) if origin]
