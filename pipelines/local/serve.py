"""Serve the champion on this machine, optionally with the web page or a PACS: `python -m pipelines.local.serve`."""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from brain_tumor.errors import InputError
from brain_tumor.file_digests import check_file_digests
from brain_tumor.model_card import MODEL_NAME, NOTICE, read_model_card
from components.errors import describe_disk_error
from components.registry import connect, get_champion, local_copy, registry_uri, runs_folder, why_no_champion
from pipelines.local.examples import classify_held_out
from pipelines.local.pacs import check_pacs, pacs
from pipelines.local.ports import Ports, read_ports
from pipelines.local.processes import Processes, check_running, process_group, stop_as_at_ctrl_c, wait_until_ready

STOP_TIMEOUT_SECONDS = 35
POLL_SECONDS = 0.5


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
        wait_until_ready(f"{url}/readyz", processes)
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
        wait_until_ready(f"{url}/_stcore/health", processes)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.local.serve", description=main.__doc__)
    parser.add_argument("--runs", type=runs_folder, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    parser.add_argument(
        "--examples", type=int, default=0, metavar="N", help="first classify N held-out images of the last run; default: 0"
    )
    parser.add_argument("--page", action="store_true", help="also start the web page")
    parser.add_argument("--pacs", action="store_true", help="also start a PACS with a phantom series, and its gateway")
    return parser


def main() -> int:
    """Serve the champion until Ctrl-C. The exit status is 2 if there is no champion."""
    options = _parser().parse_args()
    stop_as_at_ctrl_c()
    try:
        ports = read_ports()
        if options.pacs:
            check_pacs(ports)
        client = connect(registry_uri(options.runs))
        champion = get_champion(client)
        if champion is None:
            print(f"there is no champion: {why_no_champion(client, str(options.runs / 'models'))}")
            return 2
        with contextlib.ExitStack() as stack:
            model_dir = stack.enter_context(local_copy(champion))
            check_file_digests(model_dir, f"version {champion.version}")
            url, processes = stack.enter_context(service(model_dir, ports))
            print(f"serve: {champion.name} version {champion.version} at {url}, API documentation at {url}/docs")
            if options.examples:
                classify_held_out(options.runs / "latest", options.examples, model_dir=model_dir, url=url)
            if options.page:
                page_url, page_process = stack.enter_context(page(url, ports))
                processes = {**processes, **page_process}
                print(f"serve: web page at {page_url}")
            if options.pacs:
                processes = {**processes, **stack.enter_context(pacs(options.runs / "pacs", url, ports))}
            print(f"\n  {NOTICE}\n\nserve: press Ctrl-C to stop", flush=True)
            while True:
                check_running(processes)
                time.sleep(POLL_SECONDS)
    except (InputError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {describe_disk_error(error, options.runs) or error}")
    except KeyboardInterrupt:
        print("\nserve: stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
