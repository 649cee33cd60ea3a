"""Build oauth2-proxy from its Go module."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

MODULE = Path(__file__).parent / "oauth2_proxy"
PROGRAM = MODULE / "bin" / "oauth2-proxy"


def version() -> str:
    """Return the version that the module requires, such as `v7.15.6`."""
    lines = (line.split() for line in (MODULE / "go.mod").read_text().splitlines())
    return next(words[1] for words in lines if words[:1] == ["github.com/oauth2-proxy/oauth2-proxy/v7"])


def main() -> None:
    """Build the program, unless it is there for these versions of its modules."""
    stamp, built = PROGRAM.with_name("version"), (MODULE / "go.sum").read_text()
    if PROGRAM.exists() and stamp.exists() and stamp.read_text() == built:
        return
    if shutil.which("go") is None:
        sys.exit("error: go is not installed: oauth2-proxy is built with Go 1.26 or newer, from https://go.dev/dl")
    print(f"building oauth2-proxy {version()}: once, 1 to 4 minutes on two cores", flush=True)
    command = ["go", "build", "-trimpath", "-o", f"{PROGRAM.parent}{os.sep}", "tool"]
    subprocess.run(command, cwd=MODULE, check=True, env=os.environ | {"CGO_ENABLED": "0"})
    stamp.write_text(built)


if __name__ == "__main__":
    main()
