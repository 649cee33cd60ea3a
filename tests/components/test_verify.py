import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_tumor.file_digests import write_file_digests
from components.decision import Decision
from components.train.export import verify_against_network
from components.verify import VerifyError, sample_images, verify


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_exported_model_passes_every_check(tiny_model: Path) -> None:
    checks = [line.split(":")[0] for line in verify(tiny_model)]
    assert checks == ["files", "model.json", "train.sha256", "signatures", "warm-up", "outputs", "sample images"]


def edit_card(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "assets.extra" / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def corrupt(folder: Path) -> None:
        (folder / name).write_bytes(edit((folder / name).read_bytes()))

    return corrupt


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda folder: (folder / "assets.extra" / "model.json").unlink(), r"model\.json: .* cannot be read: No such file"),
        (lambda folder: (folder / "assets.extra" / "model.json").write_text("{"), r"model\.json: .* is not JSON"),
        (edit_card(threshold=2), r"model\.json: at \$\.threshold: 2"),
        (edit_card(threshold=None), r"model\.json: got threshold None with 2 classes"),
        (edit_card(classes=["tumor", "no_tumor"]), r"outputs: got label"),
        (
            lambda folder: (folder / "assets.extra" / "train.sha256").write_text("no hash\n"),
            r"train\.sha256: expected at least one line in .*, each a SHA-256",
        ),
        (lambda folder: (folder / "assets.extra" / "tf_serving_warmup_requests").unlink(), "warm-up: .* is missing"),
        (
            lambda folder: (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b""),
            "warm-up: got requests for no signature",
        ),
        (
            lambda folder: (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"damaged" * 9),
            "warm-up: .* is damaged",
        ),
        (
            lambda folder: (folder / "saved_model.pb").write_bytes(b"junk"),
            "cannot load a SavedModel, saved_model.pb is damaged: ",
        ),
        (lambda folder: (folder / "saved_model.pb").unlink(), "cannot load a SavedModel, saved_model.pb is damaged: "),
        (change("variables/variables.index", lambda old: old[:-9]), "a file in variables/ or .* is damaged: "),
        (change("variables/variables.data-00000-of-00001", lambda old: old[:-9]), "a file in variables/ or .* is damaged: "),
        (change("variables/variables.data-00000-of-00001", flip), "a file in variables/ or .* is damaged: "),
        (lambda folder: shutil.rmtree(folder / "variables"), "a file in variables/ or .* is damaged: "),
    ],
)
def test_verify_names_the_failed_check(copy: Path, corrupt: Callable[[Path], None], message: str) -> None:
    corrupt(copy)
    with pytest.raises(VerifyError, match=message):
        verify(copy)


def test_verify_checks_the_digests_of_registration_first(copy: Path) -> None:
    assert verify(copy)[0].startswith("files: no assets.extra/files.sha256")
    write_file_digests(copy)
    assert verify(copy)[0].startswith("files: ")
    edit_card(threshold=0.9)(copy)
    change("variables/variables.index", flip)(copy)
    (copy / "notes.txt").touch()
    with pytest.raises(VerifyError) as raised:
        verify(copy)
    changed = "assets.extra/model.json was changed; variables/variables.index was changed; notes.txt was added"
    assert str(raised.value) == f"files: {copy} is damaged: {changed}"


def test_verify_names_missing_outputs(copy: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.f = tf.function(lambda image_bytes: {"probability": image_bytes}, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(copy / "other"), signatures={"serving_default": module.f})
    shutil.move(copy / "other" / "saved_model.pb", copy / "saved_model.pb")
    with pytest.raises(VerifyError, match="signatures: serving_default lacks outputs in_distribution, label, uncertain"):
        verify(copy)


def test_keras_model_with_other_weights_fails_the_comparison(tiny_model: Path) -> None:
    from components.architectures.cnn import CnnNetwork, build_model
    from tests.conftest import TINY

    other = CnnNetwork(build_model(TINY, 2))
    decision = Decision(("no_tumor", "tumor"), temperature=1.0, threshold=0.5, min_probability=np.zeros(2, np.float32))
    with pytest.raises(VerifyError, match="probability of the network: differs by"):
        verify_against_network(tiny_model, other, decision)


def test_sample_images_cover_every_format_and_mode() -> None:
    from brain_tumor.images import read_image

    images = {name: read_image(data) for name, data in sample_images().items()}
    assert {image.format for image in images.values()} == {"JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"}
    assert {image.mode for image in images.values()} >= {"L", "RGB", "CMYK", "RGBA", "P", "I;16", "1"}
    upright = images["PNG grey"].pixels
    assert np.array_equal(np.rot90(images["JPEG rotated"].pixels, 1).shape, upright.shape)
    assert np.array_equal(images["TIFF"].pixels, upright)


def test_command_reports_the_failed_check_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "components.verify", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("verify: model.json: ")
    assert "Traceback" not in done.stderr
