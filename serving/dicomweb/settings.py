"""The PACS gateway's settings, from the environment or from the files of a mounted Secret."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from brain_tumor.settings import Port, Token, check_url
from serving.settings import POD_SETTINGS


class Settings(BaseSettings):
    """Each field is read from the environment variable of its name in capitals, else from the file of that name in the pod."""

    model_config = SettingsConfigDict(
        frozen=True, validate_default=True, secrets_dir=POD_SETTINGS if POD_SETTINGS.is_dir() else None
    )
    dicomweb_url: str = Field(default="", description="Root URL of the PACS's DICOMweb, such as https://pacs.example/dicom-web.")
    dicomweb_user: str = Field(default="", description="User at the PACS, with DICOMWEB_PASSWORD; empty without.")
    dicomweb_password: str = Field(default="", description="Password of DICOMWEB_USER.")
    dicomweb_token: Token = Field(
        default="", description="Token sent to the PACS as `Authorization: Bearer`, in place of a user."
    )
    dicomweb_ca: str = Field(default="", description="File of the certificates that sign the PACS's; empty for the usual ones.")
    api_url: str = Field(default="http://localhost:8080", description="URL of the transformer.")
    api_token: Token = Field(default="", description="Token sent to the transformer as `Authorization: Bearer`; empty without.")
    rules: Path = Field(default=Path("rules.yaml"), description="File of the rules that select series.")
    state: Path = Field(default=Path("state.sqlite"), description="File of the state; it must outlive the process.")
    poll_seconds: float = Field(
        default=10.0, gt=0, le=600, description="Time between two queries of the PACS, and the first wait after a failure."
    )
    stable_seconds: float = Field(
        default=60.0, ge=0, le=86400, description="Time without a new instance after which a series is complete."
    )
    highest: int = Field(default=3, ge=0, le=32, description="Number of slices with heatmap and overlay in the results.")
    dead_letter_days: float = Field(default=30.0, ge=0, description="Days after which a dead letter is deleted; 0: never.")
    metrics_port: Port = Field(default=8082, description="Port of /metrics, /healthz and /readyz.")

    @field_validator("dicomweb_url", "api_url")
    @classmethod
    def _check_url(cls, text: str) -> str:
        return check_url(text, example="https://pacs.example/dicom-web", secrets="credentials into their own variables")

    @field_validator("dicomweb_user", "dicomweb_password")
    @classmethod
    def _strip_line_end(cls, text: str) -> str:
        return text.rstrip("\r\n")

    @field_validator("dicomweb_ca")
    @classmethod
    def _check_ca(cls, path: str) -> str:
        if path and not Path(path).is_file():
            raise ValueError(f"got {path!r}, expected a file with certificates in PEM form")
        return path

    @field_validator("dicomweb_token")
    @classmethod
    def _check_one_credential(cls, token: str, info: ValidationInfo) -> str:
        if token and info.data.get("dicomweb_user"):
            raise ValueError("got a token and DICOMWEB_USER, expected one of them")
        return token
