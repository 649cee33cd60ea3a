"""A stand-in for TensorFlow Serving on a machine without one, with the same REST and gRPC: `python -m serving.predictor`."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import uvicorn
import uvloop
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from brain_tumor.errors import InputError
from brain_tumor.settings import Port, read_settings
from serving.connection_limits import ConnectionLimits, max_connections
from serving.predictor.model import Servable
from serving.predictor.rest import RestApi
from serving.predictor.rpc import grpc_server
from serving.signals import exit_on_signals, leave_signals_to_uvicorn

GRACE_SECONDS = 10


class Settings(BaseSettings):
    """Each field is read from the environment variable of its name in capitals."""

    model_config = SettingsConfigDict(frozen=True)
    model_dir: Path = Field(default=Path("/mnt/models"), description="Folder of one model version.")
    predictor_http_port: Port = Field(default=8090, description="Port of the predictor for REST.")
    predictor_grpc_port: Port = Field(default=8091, description="Port of the predictor for gRPC.")


def main() -> None:
    """Read the settings, and serve until SIGTERM or SIGINT."""
    exit_on_signals()
    settings = read_settings(Settings, "serving.predictor", "Serve a SavedModel like TensorFlow Serving, over REST and gRPC.")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # or TensorFlow imports Keras 3, half of its time; Keras 2 is not installed
    # TensorFlow's default on processors with AVX-512 VNNI; for a graph with constant weights it is a gain on others too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.stderr = sys.stdout
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow writes a banner to it, and bytes of images that it cannot decode
    try:
        uvloop.run(serve(settings))
    except (InputError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


async def serve(settings: Settings) -> None:
    """Listen at once and load the model; at the end finish the requests in flight.

    Raises:
        InputError, OSError, RuntimeError: A port is in use, the limit on open files is too low, or the model cannot be loaded.
    """
    servable = Servable(settings.model_dir)
    rpc = grpc_server(servable, settings.predictor_grpc_port)
    http = uvicorn.Config(RestApi(servable), ws="none", interface="asgi3", lifespan="off", log_config=None, proxy_headers=False)
    ConnectionLimits(max_connections(), lambda _: None).apply(http)
    rest = uvicorn.Server(http)
    with socket.create_server(("0.0.0.0", settings.predictor_http_port), backlog=2048) as listener:
        await rpc.start()
        loading = asyncio.create_task(servable.load())
        loading.add_done_callback(lambda task: setattr(rest, "should_exit", task.exception() is not None))
        leave_signals_to_uvicorn()
        await rest.serve(sockets=[listener])
    await rpc.stop(GRACE_SECONDS)
    if not loading.done():
        os._exit(0)  # the thread that loads the model cannot be stopped
    loading.result()


if __name__ == "__main__":
    main()
