"""The OCI archive of a version. No cluster here mounts it: its content, and its documents by the schemas of the OCI."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT4

from brain_tumor.errors import InputError
from brain_tumor.file_digests import FILE_DIGESTS, check_file_digests
from components.registry import RegisteredVersion
from components.registry.model_image import write_oci_archive
from tests.components.registry.conftest import write_version
from tests.tools import OCI_SCHEMAS, require_folder, tool


@pytest.fixture
def archive(version: RegisteredVersion, tmp_path: Path) -> Path:
    write_oci_archive(Path(version.uri), tmp_path / "model.tar")
    return tmp_path / "model.tar"


def read(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as members:
        files = {member.name: members.extractfile(member) for member in members if member.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """Return the blob of a descriptor, whose digest and size it must have."""
    content = files[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == descriptor["digest"]
    assert len(content) == descriptor["size"]
    return content


def validate(document: bytes, schema: str) -> None:
    """Validate a document against a schema of the OCI image specification."""
    documents = {path.name: json.loads(path.read_text()) for path in require_folder(OCI_SCHEMAS).iterdir()}
    base = "https://opencontainers.org/schema/"
    places = [f"{base}{folder}{name}" for name in documents for folder in ("", "image/", "image/manifest/", "image/index/")]
    resources = [(place, DRAFT4.create_resource(documents[place.rpartition("/")[2]])) for place in places]
    validator = jsonschema.Draft4Validator(documents[schema], registry=Registry().with_resources(resources))
    validator.validate(json.loads(document))


def test_content_and_manifest_satisfy_the_oci_schemas(archive: Path) -> None:
    files = read(archive)
    validate(files["oci-layout"], "image-layout-schema.json")
    validate(files["index.json"], "image-index-schema.json")
    (reference,) = json.loads(files["index.json"])["manifests"]
    assert reference["annotations"]["org.opencontainers.image.ref.name"] == "3"
    manifest = blob(files, reference)
    validate(manifest, "image-manifest-schema.json")
    config = blob(files, json.loads(manifest)["config"])
    validate(config, "config-schema.json")
    (layer,) = json.loads(manifest)["layers"]
    uncompressed = gzip.decompress(blob(files, layer))
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(uncompressed).hexdigest()}"]
    with pytest.raises(jsonschema.ValidationError):
        validate(manifest.replace(b"sha256:", b"sha256-"), "image-manifest-schema.json")


def test_folder_models_of_the_image_is_the_version(archive: Path, version: RegisteredVersion, tmp_path: Path) -> None:
    files = read(archive)
    manifest = json.loads(blob(files, json.loads(files["index.json"])["manifests"][0]))
    with tarfile.open(fileobj=io.BytesIO(blob(files, manifest["layers"][0]))) as layer:
        owners = {(member.uid, member.gid, member.mtime, member.mode) for member in layer}
        layer.extractall(tmp_path / "root", filter="data")
    assert owners == {(0, 0, 0, 0o755), (0, 0, 0, 0o644)}
    assert check_file_digests(tmp_path / "root" / "models", "the image") == 4
    digests = [(folder / FILE_DIGESTS).read_bytes() for folder in (Path(version.uri), tmp_path / "root" / "models")]
    assert digests[0] == digests[1]


def test_equal_versions_have_an_equal_digest(version: RegisteredVersion, tmp_path: Path) -> None:
    copy = shutil.copytree(version.uri, tmp_path / "copy")
    (copy / "saved_model.pb").touch()
    digests = [write_oci_archive(folder, tmp_path / "model.tar") for folder in (Path(version.uri), copy)]
    other = write_oci_archive(write_version(tmp_path / "other", threshold=0.4), tmp_path / "model.tar")
    assert digests[0] == digests[1] != other


def test_damaged_version_becomes_no_image(version: RegisteredVersion, tmp_path: Path) -> None:
    (Path(version.uri) / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(InputError, match=r"version 3 is damaged: saved_model\.pb was changed"):
        write_oci_archive(Path(version.uri), tmp_path / "model.tar")
    assert not (tmp_path / "model.tar").exists()


def test_skopeo_reads_the_archive(archive: Path, version: RegisteredVersion, tmp_path: Path) -> None:
    skopeo = tool("skopeo")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    copied = tmp_path / "copied"
    command = [skopeo, "--policy", str(policy), "copy", f"oci-archive:{archive}:3", f"dir:{copied}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((copied / "manifest.json").read_text())
    digest = write_oci_archive(Path(version.uri), archive)
    assert f"sha256:{hashlib.sha256((copied / 'manifest.json').read_bytes()).hexdigest()}" == digest
    assert manifest["annotations"]["org.opencontainers.image.version"] == "3"
