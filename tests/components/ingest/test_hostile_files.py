"""Files that end or stop the process that reads them, and how often files are read."""

import functools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from components import workers
from components.ingest import reading
from tests.components.ingest.conftest import MakeSet, Outputs, save, texture, zip_folder

# In every process of the ingest a file with such a word after its end does what no real file should.
FAULTS = """
import ctypes, os, signal, time
import components.ingest.reading as reading

read_image = reading.read_image

def read(data):
    word = data[-8:]
    if word == b"SIGKILL!":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == b"SIGSEGV!":
        ctypes.string_at(0)
    if word == b"sleeping":
        time.sleep(600)
    if word == b"allocate":
        bytearray(8 * 2**30)
    return read_image(data)

reading.read_image = read
"""
COUNT_READS = """
import os, sys

def log(event, arguments):
    if event == "open" and str(arguments[0]).startswith(os.environ["COUNTED"]):
        descriptor = os.open(os.environ["READS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (str(arguments[0]) + "\\n").encode())
        os.close(descriptor)

sys.addaudithook(log)
"""
RUN = """
import sys
from pathlib import Path
from components.ingest.ingest import ingest

out = Path(sys.argv[2])
ingest(sys.argv[1], images_zip=out / "images.zip", manifest_csv=out / "manifest.csv", report_html=out / "report.html")
"""


def test_hostile_files_are_quarantined_and_cost_no_other(
    make_set: MakeSet, outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_set(yes=12, no=12)
    jpeg = save(texture(900), tmp_path / "900.jpg").read_bytes()
    for word in (b"SIGKILL!", b"SIGSEGV!", b"sleeping", b"allocate"):
        (folder / "yes" / f"5-{word.decode()}.jpg").write_bytes(jpeg + word)
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.syspath_prepend(str(tmp_path / "faults"))
    monkeypatch.setattr(reading, "SECONDS_PER_CHUNK", 6.0)
    summary = outputs.run(folder)
    assert (summary.files, summary.kept) == (28, 24)
    assert {row["path"]: row["verdict"] for row in outputs.rows() if row["verdict"] != "kept"} == {
        "yes/5-SIGKILL!.jpg": "quarantined: killed",
        "yes/5-SIGSEGV!.jpg": "quarantined: killed",
        "yes/5-allocate.jpg": "quarantined: out_of_memory",
        "yes/5-sleeping.jpg": "quarantined: too_slow",
    }
    page = outputs.report_html.read_text()
    assert "with signal SIGSEGV" in page
    assert "took too long to read" in page
    assert "more than 3 GiB of memory" in page


def test_outputs_do_not_depend_on_the_number_of_processes(
    make_set: MakeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_set(yes=30, no=30)
    save(texture(3), folder / "yes" / "near.jpg")
    save(texture(1001), folder / "yes" / "conflict.png")
    runs = [Outputs(*(tmp_path / f"{processes}" / name for name in ("i.zip", "m.csv", "r.html"))) for processes in (1, 3)]
    for run, processes in zip(runs, (1, 3), strict=True):
        monkeypatch.setattr(workers, "usable_cores", functools.partial(int, processes))
        run.run(folder)
    for first, second in zip(*(vars(run).values() for run in runs), strict=True):
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("nested", [False, True])
def test_each_file_of_the_source_is_read_at_most_twice(make_set: MakeSet, tmp_path: Path, nested: bool) -> None:
    folder = make_set(yes=4, no=4)
    save(texture(1001), folder / "yes" / "conflict.png")
    save(texture(2), folder / "yes" / "other.bmp")
    if nested:
        archive = zip_folder(folder, tmp_path / "set.zip", "", "copy/")
        folder = tmp_path / "nested"
        subprocess.run([sys.executable, "-m", "zipfile", "-e", archive, folder], check=True)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(COUNT_READS)
    reads = tmp_path / "reads"
    path = os.pathsep.join([str(tmp_path / "hook"), *filter(None, sys.path)])
    env = os.environ | {"COUNTED": f"{folder}{os.sep}", "READS": str(reads), "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", RUN, folder, tmp_path / "out"], check=True, env=env, stdout=subprocess.DEVNULL)
    counts = Counter(name for name in reads.read_text().splitlines() if Path(name).is_file())
    assert len(counts) == (20 if nested else 10)
    assert max(counts.values()) == 2
