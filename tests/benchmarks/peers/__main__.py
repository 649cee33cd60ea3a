"""The service compared with other ways to serve its model, which writes docs/benchmarks.md: `make bench-peers`.

All systems serve one SavedModel at the same time, and are measured in short rounds, in turn, so that a busy machine slows
all alike.
"""

import argparse
import contextlib
import io
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from components.architectures.cnn import CnnConfig
from components.architectures.evidence import EvidenceConfig
from components.files import atomic_write
from tests.benchmarks.peers.measure import measure
from tests.benchmarks.peers.page import CNN, EVIDENCE, FIXED_RATE, Results, page, ratios
from tests.benchmarks.peers.servers import PEERS, PLAIN, SERVICE, checkout, machine, running_systems
from tests.benchmarks.systems import progress, sample_images, train_on_phantoms
from tests.serving.processes import ROOT

CONFIGS = {EVIDENCE: EvidenceConfig(epochs=1), CNN: CnnConfig(epochs=1)}
PAGE = ROOT / "docs" / "benchmarks.md"
COLUMNS = (20, 10, 17, 9, 6, 24, 6)  # their widths on the terminal


def main() -> None:
    """Compare the service with MLServer, BentoML, LitServe, bare FastAPI and the plain way, and write docs/benchmarks.md."""
    options = _parser().parse_args()
    started = time.monotonic()
    images, description = sample_images(options.images)
    results = {}
    with ExitStack() as stack:
        before = stack.enter_context(checkout(options.before)) if options.before else None
        for architecture in options.architectures:
            model = stack.enter_context(_model(architecture))
            names = [name for name in options.systems if name != PLAIN or architecture == CNN]
            progress(f"{architecture}: starting {', '.join([SERVICE, *names])}")
            with running_systems(model, names, before) as systems:
                results[architecture] = measure(
                    systems, images, rounds=options.rounds, seconds=options.seconds, rate_seconds=options.rate_seconds
                )
            for ratio in ratios(architecture, results[architecture]):
                print(
                    f"{architecture:<9}",
                    *(f"{cell:<{width}}" for cell, width in zip(ratio.row(), COLUMNS, strict=True)),
                    flush=True,
                )
    kilobytes = sum(map(len, images)) / len(images) / 1e3
    intro = _intro(f"{len(images)} {description}, {kilobytes:.0f} kB each on average", results, options)
    with atomic_write(options.page) as partial:
        partial.write_text(page(intro, results))
    print(f"wrote {options.page} after {(time.monotonic() - started) / 60:.0f} minutes")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=main.__doc__)
    parser.add_argument("--systems", nargs="+", choices=[*PEERS, PLAIN], default=[*PEERS, PLAIN], help="default: all")
    parser.add_argument("--architectures", nargs="+", choices=CONFIGS, default=list(CONFIGS), help="default: both")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=2, help="of a round of one system; default: %(default)s")
    parser.add_argument("--rate-seconds", type=int, default=6, help="of a round at the fixed rate; default: %(default)s")
    parser.add_argument("--before", metavar="COMMIT", help="also measure the service as of this commit")
    parser.add_argument(
        "--images", type=Path, help="folder of images (default: navoneel in ../shared/data or REALDATA, else phantoms)"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="default: %(default)s")
    return parser


@contextlib.contextmanager
def _model(architecture: str) -> Iterator[Path]:
    """Train an architecture at its full size for one epoch: the weights have no influence on the speed."""
    with tempfile.TemporaryDirectory() as folder:
        progress(f"{architecture}: training for one epoch")
        with redirect_stdout(io.StringIO()):
            train_on_phantoms(Path(folder), CONFIGS[architecture])
        yield Path(folder) / "model"


def _intro(images: str, results: dict[str, Results], options: argparse.Namespace) -> str:
    load_cores = {
        fixed: max(
            each.load_cores
            for result in results.values()
            for cell, measured in result.rounds.items()
            for each in measured
            if (cell.clients == FIXED_RATE) == fixed
        )
        for fixed in (False, True)
    }
    peers = ", ".join(f"{name} {PEERS[name].version()}" for name in options.systems if name != PLAIN)
    commit = _git("describe", "--always", "--dirty", "--exclude=*")
    before = (
        f" The column *before* is the service as of commit {_git('rev-parse', '--short', options.before)}."
        if options.before
        else ""
    )
    return INTRO.format(
        commit=commit,
        before=before,
        machine=machine(),
        images=images,
        rounds=options.rounds,
        seconds=options.seconds,
        rate_seconds=options.rate_seconds,
        peers=peers,
        wrk=load_cores[False],
        opened=load_cores[True],
        idle=max(result.idle_cores for result in results.values()),
    )


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


INTRO = """
# Benchmarks

`make bench-peers` writes this page: the service beside other ways to serve its model, on one machine, in one run. The service is
that of commit {commit}.{before}

- Machine: {machine}; systems and load generator share them. Images: {images}.
- All systems run at the same time; without a request they take {idle:.2f} of a core together.
- Each figure is the median of {rounds} rounds of {seconds} s, or {rate_seconds} s at a fixed rate. In each round all systems
  follow one another, so that a busy machine slows all alike.
- All systems serve one SavedModel and return label, probability and, to explain, heatmap and overlay as PNG:
  {peers}, each with a worker a core and one TensorFlow thread in each; and the plain way,
  `model.predict` and an eager tape, which `evidence` does not have. Responses are not compressed, and no request is refused. The
  settings of each, and where its documentation advises them, are in `tests/benchmarks/peers/`.
- The peers draw the overlay with Pillow, at its fastest PNG level. With *our overlay* they draw it with the project's code, so
  that the serving alone is compared.
- Requests a second are measured with wrk, whose clients each send the next request after the response. It took at most {wrk:.2f}
  of a core. The fixed rate is half of the slowest server's highest, the plain way left out, the same for all. A duration starts
  when the request was due, whether or not earlier ones have been answered. That generator took at most {opened:.2f} of a core.
- The service's processor time is that of two processes: the transformer, and the stand-in, whose place TensorFlow Serving takes
  in production.
- The stand-in runs a frozen copy of the SavedModel's graph, with oneDNN; peers run the SavedModel as their documentation says,
  with TensorFlow's own choice of oneDNN: without frozen weights it made them slower on a processor without AVX-512.
"""


if __name__ == "__main__":
    main()
