"""What the environment sets of the page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from brain_tumor.overlay import COLOUR_MAPS

PORTS = range(1, 65536)


class SettingError(ValueError):
    """A variable of the environment that cannot be used. The message names it, what came and what was wanted."""


@dataclass(frozen=True)
class Settings:
    """Each field is read from the variable of its name in capitals."""

    api_url: str = "http://localhost:8080"
    """The transformer's address, or the gateway's before it."""
    api_token: str = ""
    """Sent as `Authorization: Bearer`; empty where nothing asks for one."""
    page_port: int = 8501
    page_path: str = ""
    """Where a reverse proxy shows the page, such as `/brain`; empty at its root."""
    metrics_port: int = 9464
    colour_map: str = "inferno"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read every field that is set.

        Raises:
            SettingError: a port is none, a path or the service's address is not well formed, or the colour map is unknown.
        """
        colour_map = environment.get("COLOUR_MAP", cls.colour_map)
        if colour_map not in COLOUR_MAPS:
            raise SettingError(f"COLOUR_MAP is {colour_map!r}, wanted one of {', '.join(COLOUR_MAPS)}")
        return cls(
            api_url=_address(environment.get("API_URL", cls.api_url)),
            api_token=_token(environment.get("API_TOKEN", cls.api_token)),
            page_path=_path(environment.get("PAGE_PATH", cls.page_path)),
            page_port=_port("PAGE_PORT", environment.get("PAGE_PORT", str(cls.page_port))),
            metrics_port=_port("METRICS_PORT", environment.get("METRICS_PORT", str(cls.metrics_port))),
            colour_map=colour_map,
        )


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingError("API_URL holds a user, a password or a query, wanted only an address: API_TOKEN is for a secret")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"API_URL is {text!r}, wanted an address such as http://localhost:8080")
    return text.rstrip("/")


def _token(text: str) -> str:
    token = text.strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise SettingError("API_TOKEN holds a blank or a letter outside ASCII, which no header can carry")
    return token


def _path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII):
        raise SettingError(f"PAGE_PATH is {text!r}, wanted a path such as /brain, or nothing")
    return path


def _port(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) not in PORTS:
        raise SettingError(f"{name} is {text!r}, wanted a port, 1 to {PORTS[-1]}")
    return int(text)
