"""Monitor the service, the web page and the PACS gateway on this machine with Prometheus: `python -m pipelines.local.monitor`."""

import argparse
import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from brain_tumor.errors import InputError
from components.errors import exit_on_error
from components.registry import runs_folder
from pipelines.local.ports import read_ports

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "brain-tumor-ui" / "rules" / "brain-tumor.yaml"
SCRAPE_SECONDS = 5


def configuration(targets: Mapping[str, str], *, scrape_seconds: int = SCRAPE_SECONDS) -> str:
    """Return Prometheus's configuration file with the chart's rules and one scrape job for each target.

    Args:
        targets: Job name -> host and port that serve `/metrics`.
        scrape_seconds: Interval of scrapes and of rule evaluations, in seconds.
    """
    interval = f"{scrape_seconds}s"
    jobs = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    document = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [str(RULES)],
        "scrape_configs": jobs,
    }
    return json.dumps(document, indent=2)  # JSON is YAML


def command(folder: Path, *, port: int) -> list[str]:
    """Return the command that starts Prometheus with the configuration and the database in `folder`.

    Raises:
        InputError: Prometheus is not installed.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise InputError("no program `prometheus`; install it as root on Debian: `make tools` or `apt-get install prometheus`")
    return [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]


def main() -> None:
    """Monitor the service, the web page and the PACS gateway until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.local.monitor", description=main.__doc__)
    parser.add_argument("--runs", type=runs_folder, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    folder = parser.parse_args().runs.resolve() / "prometheus"
    with exit_on_error("", folder):
        ports = read_ports()
        prometheus = command(folder, port=ports.monitor_port)
        processes = {"transformer": ports.http_port, "page": ports.metrics_port, "gateway": ports.gateway_port}
        targets = {job: f"localhost:{port}" for job, port in processes.items()}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(configuration(targets))
    jobs = ", ".join(f"the {job} at {target}" for job, target in targets.items())
    print(f"monitor: scraping {jobs}; data in {folder}")
    print(f"monitor: queries at http://localhost:{ports.monitor_port}, alerts at http://localhost:{ports.monitor_port}/alerts")
    print("monitor: press Ctrl-C to stop", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job of a shell script inherits it as ignored
    os.execv(prometheus[0], prometheus)


if __name__ == "__main__":
    main()
