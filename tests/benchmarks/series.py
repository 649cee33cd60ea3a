"""A series compared with its slices one by one, and the memory that it takes: `make bench`.

One client sends the same files in turn as one series, and as that many predictions and K explanations, so that a busy machine
slows both alike.
"""

import statistics
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from brain_tumor.phantoms import make_phantom
from tests.benchmarks.load import Load, multipart
from tests.benchmarks.systems import Ports, model_folder, parser, predictor, progress, span_seconds, transformer
from tests.brain_tumor.dicoms import dicom
from tests.serving.processes import Service, free_ports

SLICES, HIGHEST, ROUNDS = 300, 3, 3
SIDE_PX = 256
MAX_RATIO = 1.2
FOUND = ("label", "probability", "confidence", "in_distribution", "uncertain", "warning_codes")


def slices(count: int) -> list[bytes]:
    """Return the DICOM files of a series of phantoms, 12 bits, uncompressed, `SIDE_PX` wide, 3 mm apart."""
    rng = np.random.default_rng(0)
    phantoms = [make_phantom(rng, lesion=number % 2 == 1)[0] for number in range(24)]
    files = []
    for number in range(count):
        image = Image.fromarray(phantoms[number % len(phantoms)]).convert("L").resize((SIDE_PX, SIDE_PX))
        levels = np.asarray(image, np.uint16) * 16 + rng.integers(0, 16, (SIDE_PX, SIDE_PX), np.uint16)
        place: dict[str, Any] = {"ImagePositionPatient": [0, 0, 3 * number], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        depth: dict[str, Any] = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2048, "WindowWidth": 4096}
        files.append(dicom(levels, SeriesInstanceUID="1.2.3", InstanceNumber=number + 1, **place, **depth))
    return files


def series_post(files: list[bytes]) -> bytes:
    """Build a POST of a series."""
    parts = [("file", ("slice", data)) for data in files]
    request = httpx.Request("POST", f"http://localhost/series?highest={HIGHEST}", files=parts)
    head = [f"POST /series?highest={HIGHEST} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items()), "", ""]
    return "\r\n".join(head).encode() + request.read()


def seconds(load: Load, requests: list[bytes]) -> float:
    """Let one client send each request once; return the time from the first one to the last response."""
    responses = load.once(requests, clients=1).result()
    if failed := [each for each in responses if each.status != 200]:
        raise SystemExit(f"got status {failed[0].status}: {failed[0].start.decode()}")
    return span_seconds(responses)


def check(url: str, files: list[bytes]) -> list[int]:
    """Exit if the series and single predictions differ; return the positions of the highest slices' files."""
    with httpx.Client(base_url=url, timeout=300) as client:
        answer = (
            client.post("/series", files=[("file", data) for data in files], params={"highest": HIGHEST})
            .raise_for_status()
            .json()
        )
        for each in answer["slices"]:
            single = client.post("/predict", files={"file": files[each["file"]]}).raise_for_status().json()
            if {field: each[field] for field in FOUND} != {field: single[field] for field in FOUND}:
                raise SystemExit(f"slice of file {each['file']}: the series answers otherwise than /predict")
    return [answer["slices"][each["slice"]]["file"] for each in answer["highest"]]


def memory_mb(process: Service, measure: str) -> float:
    """Return `VmRSS`, or the peak `VmHWM`, of a process."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(status.split(f"{measure}:")[1].split()[0]) / 1024


def main() -> None:
    """Print the ratio of the times, and the memory of the transformer beside that of the slices."""
    arguments = parser(__doc__).parse_args()
    files, ports = slices(SLICES), Ports(*free_ports(4))
    series, singles = [series_post(files)], [multipart("/predict", data) for data in files]
    ratios = []
    with (
        model_folder(arguments.model) as model,
        predictor(model, ports),
        transformer(model, ports) as service,
        Load(ports.http) as load,
    ):
        seconds(load, singles[:20])
        before = memory_mb(service, "VmRSS")
        Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")  # of the peak
        seconds(load, series)
        peak = memory_mb(service, "VmHWM")
        highest = check(f"http://localhost:{ports.http}", files)
        explains = [multipart("/predict?explain=true", files[position]) for position in highest]
        for number in range(ROUNDS):
            of_series, of_singles = seconds(load, series), seconds(load, singles + explains)
            progress(f"round {number + 1} of {ROUNDS}: series {of_series:.2f} s, one by one {of_singles:.2f} s")
            ratios.append(of_series / of_singles)
    ratio, mb = statistics.median(ratios), 1e6
    target = f"target: at most {MAX_RATIO:g}{'' if ratio <= MAX_RATIO else '  missed'}"
    print(
        f"series of {SLICES} slices / {SLICES} predictions and {HIGHEST} explanations, one client: "
        f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})  {target}"
    )
    print(
        f"peak memory of the transformer: {peak:.0f} MB, {before:.0f} MB before; "
        f"the files have {sum(map(len, files)) / mb:.0f} MB, the 8-bit slices {SLICES * SIDE_PX**2 / mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
