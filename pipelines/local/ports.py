"""The ports of this machine that the commands use, each from the environment variable of its name in capitals."""

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from brain_tumor.errors import InputError
from brain_tumor.settings import Port, settings_error


class Ports(BaseSettings):
    model_config = SettingsConfigDict(frozen=True)
    http_port: Port = Field(default=8080, description="Port of the transformer for REST.")
    predictor_http_port: Port = Field(default=8090, description="Port of the predictor for REST.")
    predictor_grpc_port: Port = Field(default=8091, description="Port of the predictor for gRPC.")
    page_port: Port = Field(default=8501, description="Port of the web page.")
    metrics_port: Port = Field(default=9464, description="Port of the web page's metrics.")
    pacs_port: Port = Field(default=8042, description="Port of the PACS, Orthanc.")
    gateway_port: Port = Field(default=8082, description="Port of the metrics of the PACS's gateway.")
    monitor_port: Port = Field(default=9090, description="Port of Prometheus.")


def read_ports() -> Ports:
    """Read the ports.

    Raises:
        InputError: One of them is no port.
    """
    try:
        return Ports()
    except ValidationError as error:
        raise InputError(settings_error(error, Ports)) from None
