"""Serve the champion on this machine: predictor, transformer and optionally the web page: `python -m pipelines.local.serve`."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path

from brain_tumor.errors import InputError
from brain_tumor.model_card import MODEL_NAME, NOTICE, read_model_card
from components.registry import connect, get_champion, local_copy, registry_uri
from pipelines.local.examples import classify_held_out
from pipelines.local.ports import Ports, read_ports
from pipelines.local.processes import open_local, process_group, stop_as_at_ctrl_c

READY_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 35
POLL_SECONDS = 0.5
Processes = Mapping[str, subprocess.Popen]


@contextlib.contextmanager
def service(model_dir: Path, ports: Ports) -> Iterator[tuple[str, Processes]]:
    """Start predictor and transformer for a model folder, wait until they are ready, and stop them at the end.

    Yields:
        The URL of the transformer, and the processes by name.

    Raises:
        InputError: SERVE_RUNTIME is not a program.
        RuntimeError: A process ended or was not ready in time. Its output is on stdout.
    """
    url = f"http://localhost:{ports.http_port}"
    predictor_host = f"localhost:{ports.predictor_http_port}"
    environment = os.environ | {"MODEL_DIR": str(model_dir), "PREDICTOR_HOST": predictor_host}
    with contextlib.ExitStack() as stack:
        commands = {
            "the predictor": stack.enter_context(_predictor(model_dir, ports)),
            "the transformer": [sys.executable, "-m", "serving"],
        }
        processes = {
            name: stack.enter_context(process_group(command, stop_seconds=STOP_TIMEOUT_SECONDS, env=environment))
            for name, command in commands.items()
        }
        print("serve: waiting for the model", flush=True)
        _wait(f"{url}/readyz", processes)
        yield url, processes


@contextlib.contextmanager
def page(api_url: str, ports: Ports) -> Iterator[tuple[str, Processes]]:
    """Start the web page for a transformer, wait until it is ready, and stop it at the end.

    Yields:
        The URL of the web page, and its process by name.

    Raises:
        RuntimeError: The process ended or was not ready in time. Its output is on stdout.
    """
    url = f"http://localhost:{ports.page_port}{os.environ.get('PAGE_PATH', '').rstrip('/')}"
    environment = os.environ | {"API_URL": api_url}
    with process_group([sys.executable, "-m", "ui"], stop_seconds=STOP_TIMEOUT_SECONDS, env=environment) as process:
        processes = {"the web page": process}
        _wait(f"{url}/_stcore/health", processes)
        yield url, processes


@contextlib.contextmanager
def _predictor(model_dir: Path, ports: Ports) -> Iterator[list[str]]:
    """Yield the predictor's command: TensorFlow Serving if SERVE_RUNTIME names it, otherwise the stand-in."""
    name = os.environ.get("SERVE_RUNTIME")
    if not name:
        yield [sys.executable, "-m", "serving.predictor"]
        return
    program = shutil.which(name)
    if program is None:
        raise InputError(f"SERVE_RUNTIME: got {name!r}, which is no program; expected tensorflow_model_server, or unset")
    version = read_model_card(model_dir).version
    with tempfile.TemporaryDirectory() as base:
        (Path(base) / version).symlink_to(model_dir.resolve())
        yield [
            program,
            f"--model_name={MODEL_NAME}",
            f"--model_base_path={base}",
            f"--rest_api_port={ports.predictor_http_port}",
            f"--port={ports.predictor_grpc_port}",
        ]


def _wait(url: str, processes: Processes) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        _check(processes)
        try:
            with open_local(url, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"{url} did not return 200 within {READY_TIMEOUT_SECONDS} s")


def _check(processes: Processes) -> None:
    """Raise RuntimeError if one of the processes has ended."""
    for name, process in processes.items():
        if process.poll() is not None:
            how = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
            raise RuntimeError(f"{name} ended with {how}")


def main() -> int:
    """Serve the champion until Ctrl-C. The exit status is 2 if there is no champion."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.local.serve", description=main.__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    parser.add_argument(
        "--examples", type=int, default=0, metavar="N", help="first classify N held-out images of the last run; default: 0"
    )
    parser.add_argument("--page", action="store_true", help="also start the web page")
    options = parser.parse_args()
    stop_as_at_ctrl_c()
    try:
        ports = read_ports()
        champion = get_champion(connect(registry_uri(options.runs)))
        if champion is None:
            print("there is no champion: no model has passed the gate yet")
            return 2
        with contextlib.ExitStack() as stack:
            model_dir = stack.enter_context(local_copy(champion))
            url, processes = stack.enter_context(service(model_dir, ports))
            print(f"serve: {champion.name} version {champion.version} at {url}, API documentation at {url}/docs")
            if options.examples:
                classify_held_out(options.runs / "latest", options.examples, model_dir=model_dir, url=url)
            if options.page:
                page_url, page_process = stack.enter_context(page(url, ports))
                processes = {**processes, **page_process}
                print(f"serve: web page at {page_url}")
            print(f"\n  {NOTICE}\n\nserve: press Ctrl-C to stop", flush=True)
            while True:
                _check(processes)
                time.sleep(POLL_SECONDS)
    except (InputError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\nserve: stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
