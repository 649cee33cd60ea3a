"""Write the bill of materials of each container image, in CycloneDX, from its lock: `make sbom`."""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
IMAGES = {"components": "components", "serving": "serving", "dicomweb": "serving/dicomweb", "ui": "ui"}  # name -> folder


def image_sbom(name: str, version: str, base: str) -> dict[str, Any]:
    """Return the bill of materials of a container image: the packages of its lock, with their hashes, on its base image.

    Args:
        name: Name of the image, one of `IMAGES`.
        version: The project's version.
        base: Name of the base image. Its own packages are not listed: they are those of the registry that it comes from.
    """
    lock = ROOT / IMAGES[name] / "requirements.txt"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(lock), "--spec-version", "1.6", "--output-reproducible"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    image = f"brain-tumor-{name}"
    packages = [component["bom-ref"] for component in document["components"]]
    document["metadata"]["component"] = {"type": "container", "bom-ref": image, "name": image, "version": version}
    base_name, _, base_version = base.rpartition("@" if "@" in base else ":")
    document["components"].append({"type": "container", "bom-ref": base, "name": base_name, "version": base_version})
    document["dependencies"].append({"ref": base})
    document["dependencies"].append({"ref": image, "dependsOn": sorted([*packages, base])})
    return document


def main() -> None:
    """Write a file for each container image."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="folder of the files, IMAGE.cdx.json")
    parser.add_argument("--base", required=True, help="name of the base image, as python:3.11-slim")
    options = parser.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        path = options.folder / f"{name}.cdx.json"
        path.write_text(json.dumps(image_sbom(name, version, options.base), indent=2) + "\n")
        print(path)


if __name__ == "__main__":
    main()
