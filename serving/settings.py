"""What the environment sets of the transformer, and the limits that are part of its contract."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from brain_tumor.images import MAX_PIXELS
from brain_tumor.overlay import COLOUR_MAPS

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_IMAGES = 32
BODY_TIMEOUT_SECONDS = 30
DRAIN_SECONDS = 30


class SettingError(ValueError):
    """A variable of the environment that cannot be used. The message names it, what came and what was wanted."""


@dataclass(frozen=True)
class Settings:
    """Each field is read from the variable of its name in capitals."""

    model_dir: Path = Path("/mnt/models")
    """The folder of one version of the model: the transformer reads its model.json."""
    http_port: int = 8080
    grpc_port: int = 8081
    predictor_host: str = "localhost:8090"
    """Host and REST port of TensorFlow Serving."""
    predictor_timeout_seconds: float = 5.0
    max_file_bytes: int = 10_000_000
    """Of one encoded image."""
    max_pixels: int = MAX_PIXELS
    max_in_flight: int = 16
    """Requests at work at the same time; the surplus gets 429 at once."""
    pixel_workers: int = 2
    """Images that are decoded or rendered at the same time."""
    colour_map: str = "inferno"

    def __post_init__(self) -> None:
        if self.colour_map not in COLOUR_MAPS:
            raise SettingError(f"COLOUR_MAP is {self.colour_map!r}, wanted one of {', '.join(COLOUR_MAPS)}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not value > 0:
                raise SettingError(f"{field.name.upper()} is {value}, wanted a number above 0")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read every field that is set.

        Raises:
            SettingError: a value is not a number, not above 0, or not a colour map.
        """
        given = {field: environment[field.name.upper()] for field in fields(cls) if field.name.upper() in environment}
        return cls(**{field.name: _parse(field.name.upper(), field.type, text) for field, text in given.items()})


def _parse(name: str, kind: Any, text: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise SettingError(f"{name} is {text!r}, wanted a number") from error
