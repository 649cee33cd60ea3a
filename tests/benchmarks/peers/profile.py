"""Where the processor time of a request goes in one process, by samples of its Python stacks with py-spy."""

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.tools import find

SAMPLES_PER_SECOND = 200
PLACES = 8
FRAME = re.compile(r"(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)")
PACKAGE = re.compile(r".*site-packages/([^/]+)")
OWN = re.compile(r".*/((?:serving|brain_tumor)/.*)")
# Threads that wait for work, which py-spy may take for busy ones, and uvloop, which has no frames of its own.
WAITING = re.compile(
    r"(?:\w+\.)*(_worker|wait|_wait_for_tstate_lock|get|select|poll) "
    r"\(.*/(concurrent/futures/thread|threading|queue|selectors)\.py.*\)"
)
EVENT_LOOP = re.compile(r"(?:\w+\.)*run \(.*/asyncio/runners\.py.*\)")
Shares = list[tuple[str, float]]


def sample(processes: dict[str, int], load: Callable[[], object], seconds: int) -> dict[str, Shares]:
    """Return the shares of each process while a load runs, by the process's name; without those that py-spy may not read."""
    program = find("py-spy")
    if program is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        outputs = {name: Path(folder) / str(pid) for name, pid in processes.items()}
        samplers = [_start(program, pid, seconds, outputs[name]) for name, pid in processes.items()]
        load()
        for sampler in samplers:
            sampler.wait(seconds + 30)
        return {name: shares(output.read_text()) for name, output in outputs.items() if output.exists()}


def _start(program: str, pid: int, seconds: int, output: Path) -> "subprocess.Popen[bytes]":
    options = ["--duration", str(seconds), "--rate", str(SAMPLES_PER_SECOND), "--format", "raw", "--full-filenames"]
    command = [program, "record", *options, "--output", str(output), "--pid", str(pid)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"RUST_LOG": "off"})


def shares(stacks: str) -> Shares:
    """Return the places that take the most processor time, with their shares.

    A place is a function of the project, a package, the event loop or a module of the standard library: the one in which a sample
    was taken. Threads that wait for work do not count.

    Args:
        stacks: A line for each stack: its frames, outermost first, separated by semicolons, and the number of samples.
    """
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        frame = frames.split(";")[-1]
        if not WAITING.fullmatch(frame):
            counts[_place(frame)] += int(count)
    total = sum(counts.values())
    return [(place, count / total) for place, count in counts.most_common(PLACES)]


def _place(frame: str) -> str:
    found = FRAME.fullmatch(frame)
    if found is None:
        return frame
    if EVENT_LOOP.fullmatch(frame):
        return "the event loop: uvloop and its sockets"
    file = found["file"]
    if package := PACKAGE.match(file):
        return package[1].removesuffix(".py")
    if own := OWN.match(file):
        return f"{own[1]}: {found['function']}"
    return f"{Path(file).stem} of the standard library"
