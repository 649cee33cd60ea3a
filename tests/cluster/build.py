"""Get the programs of a control plane: etcd from Debian, the rest built from the Go module of Kubernetes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.control_plane import BINARIES
from tests.tools import install_debian

MODULE = Path(__file__).parent / "kubernetes"
GO = (1, 24)


def kubernetes_version() -> str:
    """Return the version of Kubernetes that the wrapper module requires."""
    line = next(line for line in (MODULE / "go.mod").read_text().splitlines() if line.split()[:1] == ["k8s.io/kubernetes"])
    return line.split()[1]


def main() -> None:
    """Install etcd and build the two programs, unless they are there."""
    if shutil.which("etcd") is None:
        install_debian(["etcd-server"])
    stamp = BINARIES / "version"
    built = (MODULE / "go.sum").read_text()
    if stamp.exists() and stamp.read_text() == built:
        return
    if shutil.which("go") is None:
        sys.exit(f"error: go is not installed: Kubernetes is built with Go {GO[0]}.{GO[1]} or newer")
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".")
    package = "k8s.io/component-base/version"
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s", "-w", *(f"-X {package}.{name}={value}" for name, value in values.items())])
    print(f"building kube-apiserver and kube-controller-manager {version}: once, 10 to 20 minutes on two cores", flush=True)
    command = ["go", "build", "-trimpath", f"-ldflags={flags}", "-o", f"{BINARIES}{os.sep}", "tool"]
    subprocess.run(command, cwd=MODULE, check=True, env=os.environ | {"CGO_ENABLED": "0"})
    stamp.write_text(built)


if __name__ == "__main__":
    main()
