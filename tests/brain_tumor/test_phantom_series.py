"""The phantom as a volume and as DICOM: a sphere in slices, at the positions of the files."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from brain_tumor.dicom import read_dicom
from brain_tumor.errors import InputError
from brain_tumor.images import MAX_PIXELS
from brain_tumor.phantom_series import DESCRIPTION, encode, phantom_series, store, write
from brain_tumor.phantoms import LESION_RADIUS, VOLUME_HEIGHT, make_volume
from tests.serving.processes import free_ports
from tests.tools import tool

SEED, SLICES = 2, 16
Volume = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def volume() -> Volume:
    return make_volume(SEED, SLICES)


@pytest.fixture(scope="module")
def series() -> list[Dataset]:
    return phantom_series(SEED, SLICES)


def test_lesion_is_a_sphere_in_slices(volume: Volume) -> None:
    images, masks = volume
    assert images.shape == masks.shape == (SLICES, 256, 256)
    assert images.dtype == masks.dtype == np.uint8
    heights = np.linspace(-VOLUME_HEIGHT, VOLUME_HEIGHT, SLICES)
    areas = np.count_nonzero(masks, axis=(1, 2))
    inside = areas > 0
    first, last = np.flatnonzero(inside)[[0, -1]]
    assert 0 < first < last < SLICES - 1
    # A section's area, pi r^2, is a parabola of its height with roots at the poles.
    below, above = sorted(np.roots(np.polyfit(heights[inside], areas[inside], 2)))
    middle, radius = (below + above) / 2, (above - below) / 2
    assert radius == pytest.approx(LESION_RADIUS[1], abs=0.005)
    assert inside.tolist() == (np.abs(heights - middle) < radius).tolist()


def test_head_is_the_same_and_the_noise_is_not(volume: Volume) -> None:
    images, masks = volume
    lesion = masks.any(axis=0)
    neighbours = images[SLICES // 2 - 1 : SLICES // 2 + 1].astype(float)
    assert np.corrcoef(neighbours[0][~lesion], neighbours[1][~lesion])[0, 1] > 0.9
    assert not np.array_equal(neighbours[0][:20], neighbours[1][:20])
    sizes = np.count_nonzero(images > 40, axis=(1, 2))
    assert sizes[0] < 0.8 * sizes[SLICES // 2] > sizes[-1]


def test_series_states_the_position_of_every_slice_and_shows_its_image(volume: Volume, series: list[Dataset]) -> None:
    read = [read_dicom(encode(each), MAX_PIXELS) for each in series]
    assert [each.instance_number for each in read] == list(range(1, SLICES + 1))
    assert [each.position_mm for each in read] == pytest.approx(np.linspace(-60, 60, SLICES), abs=1e-3)
    assert {each.warnings for each in read} == {()}
    for each, image in zip(read, volume[0], strict=True):
        assert np.abs(each.pixels.astype(int) - image).max() <= 1
    assert len({each.SOPInstanceUID for each in series}) == SLICES
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SpacingBetweenSlices"):
        assert len({each[keyword].value for each in series}) == 1
    assert {each.SeriesDescription for each in series} == {DESCRIPTION}


def test_equal_arguments_give_equal_files(series: list[Dataset]) -> None:
    first, again = phantom_series(SEED, 2), phantom_series(SEED, 2)
    assert list(map(encode, first)) == list(map(encode, again))
    assert first[0].SeriesInstanceUID != series[0].SeriesInstanceUID


def test_a_new_folder_gets_one_file_a_slice(series: list[Dataset], tmp_path: Path) -> None:
    folder = tmp_path / "series"
    write(folder, series)
    files = sorted(tmp_path.rglob("*.dcm"))
    assert [file.name for file in files] == [f"{number:03}.dcm" for number in range(1, SLICES + 1)]
    assert files[4].read_bytes() == encode(series[4])
    with pytest.raises(InputError, match=r"series: it exists, expected a new folder$"):
        write(folder, series)


def test_files_are_valid_dicom(series: list[Dataset], tmp_path: Path) -> None:
    path = tmp_path / "slice.dcm"
    for each in (series[0], series[-1]):
        path.write_bytes(encode(each))
        done = subprocess.run([tool("dciodvfy"), str(path)], capture_output=True, text=True)
        assert done.stderr.splitlines() == ["MRImage"]


@pytest.fixture
def pacs() -> Iterator[tuple[str, list[bytes]]]:
    """Yield a URL that stores nothing and returns the status of its path, and the bodies that it receives."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(int(self.path.split("/")[1]))
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def test_store_sends_every_instance_and_names_what_the_pacs_says(series: list[Dataset], pacs: tuple[str, list[bytes]]) -> None:
    url, bodies = pacs
    store(f"{url}/200/", series[:2])
    (body,) = bodies
    assert all(body.count(encode(each)) == 1 for each in series[:2])
    assert body.count(b"Content-Type: application/dicom\r\n") == 2
    for status in (202, 401, 500):
        with pytest.raises(InputError, match=f"did not store all instances: status {status}, expected 200"):
            store(f"{url}/{status}", series[:1])


def test_store_names_a_pacs_that_cannot_be_reached(series: list[Dataset]) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    for given, reason in ((url, r"\[Errno 111\] Connection refused"), ("localhost", "unknown url type: 'localhost/studies'")):
        with pytest.raises(InputError, match=f"^{given}: the PACS cannot be reached: {reason}$"):
            store(given, series[:1])
