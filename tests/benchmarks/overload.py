"""The service under overload: too many requests, no predictor, large images.

`python -m tests.benchmarks.overload [flood] [outage] [memory]`; all three by default, in some five minutes.
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
from tests.benchmarks.load import NO_RESPONSE, Load, Response, Responses, multipart
from tests.benchmarks.systems import (
    VERBS,
    Ports,
    model_folder,
    parser,
    predictor,
    progress,
    running_service,
    sample_images,
    span_seconds,
    transformer,
)
from tests.serving.processes import free_ports

IN_FLIGHT, TIMEOUT_SECONDS = Settings().max_in_flight, Settings().predictor_timeout_seconds
PREDICTION = re.compile(rb'"label":\s*"(\w+)".*?"probability":\s*([\d.e+-]+)', re.DOTALL)
SAME_PROBABILITY = 1e-4  # the last digits depend on the batch
OUTAGE_SECONDS, KILL_AFTER_SECONDS, DEAD_SECONDS = 35, 5, 5
MAX_SIDE_PX = 4000
EXPLAINS = {64: 600, 200: 600, 512: 500, 1024: 200, 2048: 60, MAX_SIDE_PX: 40}  # side in pixels -> number of requests
FORMATS = (("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "L"), ("PNG", "RGB"))


def flood(model: Path, images: list[bytes]) -> None:
    """Send twice the capacity: excess requests get 429 at once, and the accepted ones stay fast."""
    requests = [multipart(VERBS["explain"], image) for image in images]
    with running_service(model) as port, Load(port) as load:
        load.closed(requests, clients=IN_FLIGHT, seconds=3).result()
        progress(f"flood: {IN_FLIGHT} clients for 20 s")
        full = load.closed(requests, clients=IN_FLIGHT, seconds=20).result()
        capacity = sum(response.status == 200 for response in full) / span_seconds(full)
        progress(f"flood: {2 * capacity:.0f} requests a second for 60 s")
        twice = load.opened(requests, rate=2 * capacity, seconds=60).result()
        progress(f"flood: {2 * IN_FLIGHT} clients that retry at once for 20 s")
        again = load.closed(requests, clients=2 * IN_FLIGHT, seconds=20).result()
    print(f"flood: {capacity:.1f} explanations a second at capacity")
    print("load              sent    200    429  other   bare  p95 ms  ratio")
    loads = {f"{IN_FLIGHT} clients": full, f"{2 * capacity:.0f} a second": twice, f"{2 * IN_FLIGHT} clients": again}
    for name, responses in loads.items():
        counts = Counter(response.status for response in responses)
        other = len(responses) - counts[200] - counts[429]
        without_retry_after = sum(response.status == 429 and not response.retry_after for response in responses)
        p95, ratio = p95_ms(responses), p95_ms(responses) / p95_ms(full)
        note = "  limit exceeded" if other or without_retry_after or ratio > 2 else ""
        print(
            f"{name:<15}{len(responses):>7}{counts[200]:>7}{counts[429]:>7}{other:>7}{without_retry_after:>7}{p95:>8.0f}{ratio:>7.2f}{note}"
        )
    print("limit                                      0      0            2\nbare: 429 without Retry-After; p95: of the 200s")


def p95_ms(responses: Responses) -> float:
    return float(np.percentile([response.seconds for response in responses if response.status == 200] or [np.nan], 95)) * 1e3


def outage(model: Path, images: list[bytes]) -> None:
    """Kill the predictor under load and restart it: no request takes long, and no prediction is wrong."""
    requests = [multipart(path, image) for image in images for path in VERBS.values()]
    ports = Ports(*free_ports(4))
    with ExitStack() as stack:
        first = stack.enter_context(predictor(model, ports))
        stack.enter_context(transformer(model, ports))
        load = stack.enter_context(Load(ports.http))
        expected = {response.request: predicted(response) for response in load.once(requests, clients=4).result()}
        progress(f"outage: 4 clients for {OUTAGE_SECONDS} s")
        begin = time.monotonic()
        pending = load.closed(requests, clients=4, seconds=OUTAGE_SECONDS)
        time.sleep(KILL_AFTER_SECONDS)
        first.process.kill()
        progress("outage: the predictor is killed")
        time.sleep(DEAD_SECONDS)
        started = time.monotonic()
        stack.enter_context(predictor(model, ports, wait=False))
        progress("outage: the predictor is started")
        responses = pending.result()
    print(f"outage: predictor killed after {KILL_AFTER_SECONDS} s, started {DEAD_SECONDS} s later; responses by second")
    print_by_second(responses, begin)
    report("longest request, s", max(response.seconds for response in responses), TIMEOUT_SECONDS + 1)
    report(
        "wrong predictions",
        sum(response.status == 200 and not same(predicted(response), expected[response.request]) for response in responses),
        0,
    )
    ended = [(response.status, response.due + response.seconds - started) for response in responses if response.due > started]
    report("first 200 after start, s", min((second for status, second in ended if status == 200), default=float("nan")))
    report("last failure after start, s", max((second for status, second in ended if status != 200), default=0))


def predicted(response: Response) -> tuple[bytes, float]:
    """Return label and probability from the start of the body."""
    found = PREDICTION.search(response.start)
    return (found[1], float(found[2])) if found else (b"", float("nan"))


def same(one: tuple[bytes, float], other: tuple[bytes, float]) -> bool:
    return one[0] == other[0] and abs(one[1] - other[1]) <= SAME_PROBABILITY


def print_by_second(responses: Responses, begin: float) -> None:
    counts = Counter((int(response.due + response.seconds - begin), response.status) for response in responses)
    statuses = sorted({response.status for response in responses})
    print("second" + "".join(f"{'failed' if status == NO_RESPONSE else status:>10}" for status in statuses))
    for second in range(max(second for second, _ in counts) + 1):
        print(f"{second:>6}" + "".join(f"{counts[second, status]:>10}" for status in statuses))


def report(name: str, value: float, limit: float | None = None) -> None:
    note = "" if limit is None else f"  limit {limit:g}{'' if value <= limit else '  exceeded'}"
    print(f"{name:<30}{value:>8.2f}{note}")


def memory(model: Path, images: list[bytes]) -> None:
    """Explain images of all sizes up to the limit, and measure the transformer's memory."""
    ports = Ports(*free_ports(4))
    with predictor(model, ports), ExitStack() as stack:
        begin = time.monotonic()
        service = stack.enter_context(transformer(model, ports, path="/healthz"))
        seconds = time.monotonic() - begin
        load = stack.enter_context(Load(ports.http))
        before, _ = memory_mb(service.process.pid)
        pending = load.once(mixed_requests(), clients=4)
        while not pending.done():
            time.sleep(5)
            progress("memory: {:.0f} MB, peak {:.0f} MB".format(*memory_mb(service.process.pid)))
        after, peak = memory_mb(service.process.pid)
    counts = Counter(response.status for response in pending.result())
    print(f"memory: {dict(counts)} of {sum(EXPLAINS.values())} explanations, {EXPLAINS[MAX_SIDE_PX]} of them of 16 megapixels")
    report("start until /healthz, s", seconds, 12)
    report("before, MB", before)
    report("after, MB", after, 400)
    report("peak, MB", peak, 400)
    report("p95 of an explanation, ms", p95_ms(pending.result()))


def mixed_requests() -> list[bytes]:
    """Build requests to explain phantoms, grey and colour, JPEG and PNG, in random order."""
    rng = np.random.default_rng(0)
    requests = []
    for side_px, count in EXPLAINS.items():
        built = [multipart(VERBS["explain"], phantom(rng, side_px, *encoding)) for encoding in FORMATS]
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
    """Overload the service and print the measurements with their limits."""
    parts = parser(main.__doc__)
    parts.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)} (default: all)")
    arguments = parts.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parts.error(f"unknown part: got {', '.join(unknown)}, expected any of {', '.join(PARTS)}")
    images, _ = sample_images(arguments.images)
    with model_folder(arguments.model) as model:
        for name in arguments.parts or PARTS:
            PARTS[name](model, images)
            print()


if __name__ == "__main__":
    main()
