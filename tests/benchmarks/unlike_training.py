"""How well `in_distribution` tells brain slices from other images: `python -m tests.benchmarks.unlike_training MODEL SOURCE...`.

The other images are collected from the installed packages (photographs, icons, plots, screenshots) and made here: noise,
gradients, text, shapes and blank pages. Each source is a folder of brain slices; give those on which the model was not trained.
"""

import argparse
import io
import site
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from brain_tumor.errors import ImageError
from brain_tumor.images import read_image
from components.ingest.hashes import pixel_hash
from components.ingest.masks import MASKS_FOLDER
from components.saved_model import SavedModel

LIMIT = 0.5
BATCH_SIZE = 16
MADE_EACH = 50
MIN_SIDE_PX = 48
MAX_PER_PACKAGE = 40
WORDS = [
    "patient",
    "axial",
    "slice",
    "report",
    "contrast",
    "series",
    "scan",
    "ward",
    "date",
    "number",
    "left",
    "right",
    "anterior",
    "posterior",
]


def installed_images() -> Iterator[bytes]:
    """Yield distinct images of the installed packages, at most `MAX_PER_PACKAGE` of each."""
    root, seen = Path(site.getsitepackages()[0]), set[str]()
    for package in sorted(root.iterdir()):
        found = 0
        for file in sorted(package.rglob("*")) if package.is_dir() else ():
            if file.suffix.lower() not in (".png", ".jpg", ".jpeg", ".gif", ".bmp") or found == MAX_PER_PACKAGE:
                continue
            try:
                image = read_image(file.read_bytes())
            except ImageError:
                continue
            if min(image.width_px, image.height_px) >= MIN_SIDE_PX and (key := pixel_hash(image.pixels)) not in seen:
                seen.add(key)
                found += 1
                yield image.data


def made_images() -> Iterator[bytes]:
    """Yield images of six kinds that are no photographs, `MADE_EACH` of each, from one seed."""
    rng = np.random.default_rng(0)
    for _ in range(MADE_EACH):
        side = int(rng.integers(128, 512))
        yield _png(Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)))
        smooth = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(side / 16))
        levels = np.asarray(smooth, dtype=np.float64)
        yield _png(Image.fromarray((255 * (levels - levels.min()) / np.ptp(levels)).astype(np.uint8)))
        yield _png(Image.new("L", (side, side), int(rng.integers(0, 256))))
        y, x = np.mgrid[:side, :side] / side
        angle = rng.uniform(0, 2 * np.pi)
        yield _png(Image.fromarray((255 * (0.5 + (x * np.cos(angle) + y * np.sin(angle)) / 3).clip(0, 1)).astype(np.uint8)))
        yield _png(_page_of_text(side, rng))
        yield _png(_shapes(side, rng))


def _page_of_text(side: int, rng: np.random.Generator) -> Image.Image:
    dark = bool(rng.integers(2))
    page = Image.new("L", (side, side), 0 if dark else 255)
    draw = ImageDraw.Draw(page)
    for line in range(8, side - 16, 14):
        draw.text((8, line), " ".join(rng.choice(WORDS, side // 40)), fill=255 if dark else 0)
    return page


def _shapes(side: int, rng: np.random.Generator) -> Image.Image:
    image = Image.new("L", (side, side), int(rng.integers(0, 80)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 9))):
        corners = np.sort(rng.integers(0, side, (2, 2)), axis=0)
        shape = draw.ellipse if rng.integers(2) else draw.rectangle
        shape([*corners[0].tolist(), *corners[1].tolist()], fill=int(rng.integers(80, 256)))
    return image


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def slices(folder: Path) -> list[bytes]:
    """Return the readable images below a folder, without its masks."""
    found = []
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and MASKS_FOLDER not in file.parts):
        try:
            found.append(read_image(file.read_bytes()).data)
        except ImageError:
            continue
    return found


def in_distribution(model: SavedModel, encoded: list[bytes]) -> np.ndarray:
    """Return the model's `in_distribution`, float32 [n]."""
    batches = [encoded[start : start + BATCH_SIZE] for start in range(0, len(encoded), BATCH_SIZE)]
    return np.concatenate([model.run_signature("serving_default", batch)["in_distribution"] for batch in batches])


def main() -> None:
    """Print the share of each set that is unlike the training images, and the AUROC of each source against the other images."""
    from sklearn.metrics import roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the folder of one model version")
    parser.add_argument("sources", nargs="*", type=Path, help="folders of brain slices")
    arguments = parser.parse_args()
    model = SavedModel(arguments.model)
    others = {"images of installed packages": list(installed_images()), "made images": list(made_images())}
    scores = {name: in_distribution(model, encoded) for name, encoded in others.items()}
    print(f"{'set':<40} images  unlike training")
    for name, values in scores.items():
        print(f"{name:<40} {len(values):>6} {np.mean(values < LIMIT):>16.1%}")
    no_mri = np.concatenate(list(scores.values()))
    print(f"{'all that are no MRI':<40} {len(no_mri):>6} {np.mean(no_mri < LIMIT):>16.1%}")
    for source in arguments.sources:
        values = in_distribution(model, slices(source))
        truth = np.concatenate([np.ones(len(values)), np.zeros(len(no_mri))])
        area = roc_auc_score(truth, np.concatenate([values, no_mri]))
        print(f"{source.name:<40} {len(values):>6} {np.mean(values < LIMIT):>16.1%}  AUROC {area:.4f}")


if __name__ == "__main__":
    main()
