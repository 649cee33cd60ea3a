"""A version as a container image that holds nothing but the model: an OCI archive, written without a container engine.

https://github.com/opencontainers/image-spec. KServe mounts the folder `/models` of such an image.
"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from brain_tumor.file_digests import FILE_DIGESTS, check_file_digests, hash_files
from brain_tumor.model_card import MODEL_NAME, NOTICE, read_model_card
from components.files import atomic_write

MODELS = "models"  # the folder that KServe mounts
OCI = "application/vnd.oci.image"
PLATFORM = {"architecture": "amd64", "os": "linux"}  # of TensorFlow Serving's container images


def write_oci_archive(model_dir: Path, target: Path) -> str:
    """Write a version as an OCI archive, with one layer, and return the digest of its manifest. Equal files give an equal one.

    The archive's reference is the number of the version: `skopeo copy oci-archive:FILE docker://REGISTRY/NAME:VERSION`.

    Raises:
        InputError: The version is damaged.
    """
    card = read_model_card(model_dir)
    check_file_digests(model_dir, f"version {card.version}")
    layer = _layer(model_dir)
    compressed = gzip.compress(layer, mtime=0)
    annotations = {
        "org.opencontainers.image.title": MODEL_NAME,
        "org.opencontainers.image.version": card.version,
        "org.opencontainers.image.description": NOTICE,
    } | ({"org.opencontainers.image.created": created} if (created := card.document.get("created")) else {})
    config = _json(PLATFORM | {"config": {"Labels": annotations}, "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}})
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": _descriptor(f"{OCI}.config.v1+json", config),
            "layers": [_descriptor(f"{OCI}.layer.v1.tar+gzip", compressed)],
            "annotations": annotations,
        }
    )
    reference = {"annotations": {"org.opencontainers.image.ref.name": card.version}, "platform": PLATFORM}
    index = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.index.v1+json",
            "manifests": [_descriptor(f"{OCI}.manifest.v1+json", manifest) | reference],
        }
    )
    files = {f"blobs/{_digest(blob).replace(':', '/')}": blob for blob in (compressed, config, manifest)}
    files |= {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index}
    with atomic_write(target) as partial:
        partial.write_bytes(_tar(files))
    return _digest(manifest)


def _layer(model_dir: Path) -> bytes:
    names = sorted([*hash_files(model_dir), *([FILE_DIGESTS.as_posix()] if (model_dir / FILE_DIGESTS).is_file() else [])])
    return _tar({f"{MODELS}/{name}": (model_dir / name).read_bytes() for name in names})


def _tar(files: dict[str, bytes]) -> bytes:
    """Return an archive of files and their folders that everyone may read, in order and without times and owners."""
    folders = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(folders | files.keys()):
            member = tarfile.TarInfo(name)
            if name in folders:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            else:
                member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files.get(name, b"")))
    return buffer.getvalue()


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
