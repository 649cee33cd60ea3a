"""Watch what runs on this machine with Prometheus and the chart's rules: `python -m pipelines.local.monitor`."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from brain_tumor.errors import InputError

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "brain-tumor-ui" / "rules" / "brain-tumor.yaml"
SCRAPE_SECONDS = 5


def configuration(targets: Mapping[str, str], *, scrape_seconds: int = SCRAPE_SECONDS) -> str:
    """Return Prometheus's configuration file: the chart's rules, and each target scraped.

    Args:
        targets: job -> host and port that answer `/metrics`.
        scrape_seconds: between two scrapes, and between two evaluations of the rules.
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
    """Return the command that starts Prometheus on the configuration in `folder`, where it also stores what it sees.

    Raises:
        InputError: there is no such program.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise InputError("there is no program `prometheus`: on Debian, as root, `make tools` or `apt-get install prometheus`")
    return [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]


def main() -> None:
    """Watch the service and the page until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.local.monitor", description=main.__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of all runs; default: %(default)s")
    folder = parser.parse_args().runs.resolve() / "prometheus"
    port = int(os.environ.get("MONITOR_PORT", 9090))
    targets = {
        "transformer": f"localhost:{os.environ.get('HTTP_PORT', 8080)}",
        "page": f"localhost:{os.environ.get('METRICS_PORT', 9464)}",
    }
    try:
        start = command(folder, port=port)
    except InputError as error:
        sys.exit(f"error: {error}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(configuration(targets))
    watched = ", ".join(f"the {job} at {target}" for job, target in targets.items())
    print(f"monitor: watching {watched}; it keeps what it sees in {folder}")
    print(f"monitor: http://localhost:{port} takes queries, its page Alerts has the alerts\nmonitor: until Ctrl-C", flush=True)
    os.execv(start[0], start)


if __name__ == "__main__":
    main()
