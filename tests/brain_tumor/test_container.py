"""Cores and memory that a container may use, from the files of both versions of control groups."""

import os
from pathlib import Path

import pytest

from brain_tumor import container
from brain_tumor.container import usable_cores, usable_memory_bytes


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that the machine has 64 cores, and has its control groups below this folder."""
    monkeypatch.setattr(container, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(container, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    return tmp_path


def write(root: Path, own: str, files: dict[str, str]) -> None:
    (root / "own").write_text(own)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/", {"cpu.max": "max 100000\n"}, 64),
        ("0::/pod/app", {"pod/cpu.max": "300000 100000", "pod/app/cpu.max": "max 100000"}, 3),
        ("4:cpu,cpuacct:/pod", {"cpu,cpuacct/pod/cpu.cfs_quota_us": "250000", "cpu,cpuacct/pod/cpu.cfs_period_us": "50000"}, 5),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("1:cpu:/host/path", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("", {}, 64),
    ],
)
def test_cores_are_those_of_the_lowest_limit(cgroups: Path, own: str, files: dict[str, str], cores: int) -> None:
    write(cgroups, own, files)
    assert usable_cores() == cores


def test_affinity_limits_the_cores(cgroups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    write(cgroups, "0::/", {"cpu.max": "400000 100000"})
    assert usable_cores() == 2


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {"memory.max": "1048576\n"}, 2**20),
        ("0::/", {"memory.max": "max\n"}, None),
        ("7:memory:/pod", {"memory/pod/memory.limit_in_bytes": "2097152"}, 2**21),
        ("7:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_memory_is_the_lowest_limit(cgroups: Path, own: str, files: dict[str, str], expected: int | None) -> None:
    write(cgroups, own, files)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert usable_memory_bytes() == (expected or machine)
