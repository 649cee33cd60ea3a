"""What this process may use: cores and memory, by its control group (cgroup), which limits a container below its host."""

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
UNLIMITED_BYTES = 2**60  # version 1 writes "no limit" as a number near 2**63


def usable_cores() -> int:
    """Return the number of cores that this process may use: its CPU affinity, or its cgroup's CPU limit rounded up if lower."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for folder in _cgroup_folders("cpu"):
        version_2 = _read(folder / "cpu.max").split()
        quota, period = version_2 or (_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
        if quota.isdecimal() and period.isdecimal():  # without a limit they are `max` or -1
            limits.append(math.ceil(int(quota) / int(period)))
    return max(1, min(limits))


def usable_memory_bytes() -> int:
    """Return the memory that this process and its children may use: the machine's, or its cgroup's limit if lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in _cgroup_folders("memory"):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if limit.isdecimal() and int(limit) < UNLIMITED_BYTES:
            limits.append(int(limit))
    return min(limits)


def _cgroup_folders(controller: str) -> list[Path]:
    """Return the folders of this process's cgroup and its parents, of version 2 and of version 1; they need not exist.

    Inside a container the root is the container's own cgroup.
    """
    folders = []
    for line in _read(OWN_CGROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            root = CGROUP_ROOT / controllers
            own = root / path.lstrip("/")
            folders += [parent for parent in (own, *own.parents) if parent.is_relative_to(root)]
    return folders


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
