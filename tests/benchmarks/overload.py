"""The service under more than it carries: too many requests, no predictor, large images.

`python -m tests.benchmarks.overload [flood] [outage] [memory]`: without a name all three, some five minutes.
"""

import io
import itertools
import re
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from brain_tumor.phantoms import make_phantom
from serving.settings import Settings
from tests.benchmarks.load import NO_ANSWER, Answer, Answers, Load, multipart
from tests.benchmarks.systems import (
    VERBS,
    Ports,
    model_folder,
    parser,
    predictor,
    running_service,
    sample_images,
    say,
    span_seconds,
    transformer,
)
from tests.serving.processes import free_ports

IN_FLIGHT, TIMEOUT_SECONDS = Settings.max_in_flight, Settings.predictor_timeout_seconds
ANSWERED = re.compile(rb'"label":\s*"(\w+)".*?"probability":\s*([\d.e+-]+)', re.DOTALL)
SAME_PROBABILITY = 1e-4  # images that share a batch change the last digits
OUTAGE_SECONDS, KILL_AFTER_SECONDS, DEAD_SECONDS = 35, 5, 5
MAX_OVERLAY_SIDE_PX = 4000
EXPLAINS = {64: 600, 200: 600, 512: 500, 1024: 200, 2048: 60, MAX_OVERLAY_SIDE_PX: 40}  # of each side in pixels
FORMATS = (("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "L"), ("PNG", "RGB"))


def flood(model: Path, images: list[bytes]) -> None:
    """Ask for twice of what the service carries: the surplus is refused at once, and the others hardly notice."""
    requests = [multipart(VERBS["explain"], image) for image in images]
    with running_service(model) as port, Load(port) as load:
        load.closed(requests, clients=IN_FLIGHT, seconds=3).result()
        say(f"flood: {IN_FLIGHT} clients for 20 s")
        full = load.closed(requests, clients=IN_FLIGHT, seconds=20).result()
        carried = sum(answer.status == 200 for answer in full) / span_seconds(full)
        say(f"flood: {2 * carried:.0f} requests a second for 60 s")
        twice = load.opened(requests, rate=2 * carried, seconds=60).result()
        say(f"flood: {2 * IN_FLIGHT} clients that ask again at once for 20 s")
        again = load.closed(requests, clients=2 * IN_FLIGHT, seconds=20).result()
    print(
        f"flood: {carried:.1f} explains a second are carried\nload              sent    200    429  other   bare  p95 ms  ratio"
    )
    loads = {f"{IN_FLIGHT} clients": full, f"{2 * carried:.0f} a second": twice, f"{2 * IN_FLIGHT} clients": again}
    for name, answers in loads.items():
        counts = Counter(answer.status for answer in answers)
        other = len(answers) - counts[200] - counts[429]
        bare = sum(answer.status == 429 and not answer.retry_after for answer in answers)
        p95, ratio = p95_ms(answers), p95_ms(answers) / p95_ms(full)
        verdict = "  not the wanted" if other or bare or ratio > 2 else ""
        print(f"{name:<15}{len(answers):>7}{counts[200]:>7}{counts[429]:>7}{other:>7}{bare:>7}{p95:>8.0f}{ratio:>7.2f}{verdict}")
    print("wanted                                     0      0            2\nbare: 429 without Retry-After; p95: of the 200s")


def p95_ms(answers: Answers) -> float:
    return float(np.percentile([answer.seconds for answer in answers if answer.status == 200] or [np.nan], 95)) * 1e3


def outage(model: Path, images: list[bytes]) -> None:
    """Kill the predictor under load and start it again: nobody waits for long, and no answer is wrong."""
    requests = [multipart(path, image) for image in images for path in VERBS.values()]
    ports = Ports(*free_ports(4))
    with ExitStack() as stack:
        first = stack.enter_context(predictor(model, ports))
        stack.enter_context(transformer(model, ports))
        load = stack.enter_context(Load(ports.http))
        right = {answer.request: called(answer) for answer in load.once(requests, clients=4).result()}
        say(f"outage: 4 clients for {OUTAGE_SECONDS} s")
        begin = time.monotonic()
        asked = load.closed(requests, clients=4, seconds=OUTAGE_SECONDS)
        time.sleep(KILL_AFTER_SECONDS)
        first.process.kill()
        say("outage: the predictor is killed")
        time.sleep(DEAD_SECONDS)
        started = time.monotonic()
        stack.enter_context(predictor(model, ports, wait=False))
        say("outage: the predictor is started")
        answers = asked.result()
    print(f"outage: predictor killed after {KILL_AFTER_SECONDS} s, started {DEAD_SECONDS} s later; answers by second")
    print_by_second(answers, begin)
    report("longest request, s", max(answer.seconds for answer in answers), TIMEOUT_SECONDS + 1)
    report(
        "wrong answers", sum(answer.status == 200 and not same(called(answer), right[answer.request]) for answer in answers), 0
    )
    ended = [(answer.status, answer.due + answer.seconds - started) for answer in answers if answer.due > started]
    report("first 200 after start, s", min((second for status, second in ended if status == 200), default=float("nan")))
    report("last failure after start, s", max((second for status, second in ended if status != 200), default=0))


def called(answer: Answer) -> tuple[bytes, float]:
    """Return label and probability, which stand at the beginning of the body."""
    found = ANSWERED.search(answer.start)
    return (found[1], float(found[2])) if found else (b"", float("nan"))


def same(one: tuple[bytes, float], other: tuple[bytes, float]) -> bool:
    return one[0] == other[0] and abs(one[1] - other[1]) <= SAME_PROBABILITY


def print_by_second(answers: Answers, begin: float) -> None:
    counts = Counter((int(answer.due + answer.seconds - begin), answer.status) for answer in answers)
    statuses = sorted({answer.status for answer in answers})
    print("second" + "".join(f"{'no answer' if status == NO_ANSWER else status:>10}" for status in statuses))
    for second in range(max(second for second, _ in counts) + 1):
        print(f"{second:>6}" + "".join(f"{counts[second, status]:>10}" for status in statuses))


def report(what: str, figure: float, at_most: float | None = None) -> None:
    wanted = "" if at_most is None else f"  wanted at most {at_most:g}{'' if figure <= at_most else '  above the wanted'}"
    print(f"{what:<30}{figure:>8.2f}{wanted}")


def memory(model: Path, images: list[bytes]) -> None:
    """Explain images of all sizes up to the largest that is allowed, and look at the transformer's memory."""
    ports = Ports(*free_ports(4))
    with predictor(model, ports), ExitStack() as stack:
        begin = time.monotonic()
        service = stack.enter_context(transformer(model, ports, path="/healthz"))
        seconds = time.monotonic() - begin
        load = stack.enter_context(Load(ports.http))
        before, _ = memory_mb(service.process.pid)
        asked = load.once(mixed_requests(), clients=4)
        while not asked.done():
            time.sleep(5)
            say("memory: {:.0f} MB, peak {:.0f} MB".format(*memory_mb(service.process.pid)))
        after, peak = memory_mb(service.process.pid)
    counts = Counter(answer.status for answer in asked.result())
    print(
        f"memory: {dict(counts)} of {sum(EXPLAINS.values())} explains, {EXPLAINS[MAX_OVERLAY_SIDE_PX]} of them of 16 megapixels"
    )
    report("start until /healthz, s", seconds, 12)
    report("before, MB", before)
    report("after, MB", after, 400)
    report("peak, MB", peak, 400)
    report("p95 of an explain, ms", p95_ms(asked.result()))


def mixed_requests() -> list[bytes]:
    """Build explains of phantoms, grey and colour, JPEG and PNG, in a random order."""
    rng = np.random.default_rng(0)
    requests = []
    for side_px, count in EXPLAINS.items():
        built = [multipart(VERBS["explain"], phantom(rng, side_px, *how)) for how in FORMATS]
        requests += list(itertools.islice(itertools.cycle(built), count))
    return [requests[index] for index in rng.permutation(len(requests))]


def phantom(rng: np.random.Generator, side_px: int, image_format: str, mode: str) -> bytes:
    image = Image.fromarray(make_phantom(rng, lesion=True)[0]).resize((side_px, side_px), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, image_format)
    return buffer.getvalue()


def memory_mb(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process, now and at its peak."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, peak = (int(status[name].split()[0]) / 1e3 for name in ("VmRSS", "VmHWM"))
    return now, peak


PARTS = {"flood": flood, "outage": outage, "memory": memory}


def main() -> None:
    """Load the service beyond what it carries and print what came of it, with what is wanted beside it."""
    parts = parser(main.__doc__)
    parts.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)} (default: all)")
    arguments = parts.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parts.error(f"no part is called {', '.join(unknown)}, only {', '.join(PARTS)}")
    images, _ = sample_images(arguments.images)
    with model_folder(arguments.model) as model:
        for name in arguments.parts or PARTS:
            PARTS[name](model, images)
            print()


if __name__ == "__main__":
    main()
