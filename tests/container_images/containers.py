"""Run the container images of `make images` as a kubelet runs them."""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sbom import IMAGES
from tests.conftest import VERSION

NAMES = tuple(IMAGES)
# The restrictions of Pod Security "restricted" and of our manifests.
RESTRICTED = ("--read-only", "--tmpfs=/tmp", "--user=65532:65532", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def image(name: str) -> str:
    """Return the reference of the container image, one of `NAMES`."""
    return f"brain-tumor-{name}:{VERSION}"


def docker(*arguments: str) -> str:
    """Run Docker and return its stdout; fail with its error message."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr or done.stdout}"
    return done.stdout


def missing_requirement(name: str) -> str:
    """Return the missing requirement to run a container image; empty if there is none."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return "needs a Docker engine"
    if subprocess.run(["docker", "image", "inspect", image(name)], capture_output=True).returncode:
        return f"needs the container image {image(name)}: `make images` builds it"
    return ""


def python(name: str, script: str, mounts: Mapping[Path, str] | None = None) -> str:
    """Run a script with a container image's Python and return its output."""
    start = ("run", "--rm", "--network=none", "--entrypoint=python3", *RESTRICTED, *_volumes(mounts or {}))
    return docker(*start, image(name), "-c", script)


@contextmanager
def serving(name: str, ready_url: str, env: Mapping[str, object], mounts: Mapping[Path, str] | None = None) -> Iterator[str]:
    """Start a container on the host's network, wait until `ready_url` returns 200, and yield the container's name."""
    container = f"brain-tumor-test-{uuid.uuid4().hex[:8]}"
    variables = [f"--env={key}={value}" for key, value in env.items()]
    start = ("run", "--detach", "--network=host", f"--name={container}", *RESTRICTED, *variables, *_volumes(mounts or {}))
    docker(*start, image(name))
    try:
        _wait(ready_url, container)
        yield container
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True)


def _volumes(mounts: Mapping[Path, str]) -> list[str]:
    return [f"--volume={folder}:{path}" for folder, path in mounts.items()]


def _wait(url: str, container: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and docker("inspect", "--format={{.State.Running}}", container).strip() == "true":
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True)
    raise AssertionError(f"{url} did not return 200 within {seconds:.0f} s. Output of the container:\n{logs.stdout}{logs.stderr}")
