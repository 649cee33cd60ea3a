"""Find the lesion mask of an image in a `masks` folder beside the class folders, and read it."""

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from brain_tumor.errors import ImageError
from brain_tumor.images import encode_png, read_image
from components.ingest.reading import read_file

MASKS_FOLDER = "masks"
MASK_SUFFIX = "_mask"
TAKEN, WRONG_SIZE, AMBIGUOUS, EMPTY = "taken", "wrong_size", "ambiguous", "empty"

# Masks below the parent of the class folders, by path below `masks` and by `mask_key`.
Masks = dict[str, Path]


class MaskError(Exception):
    """A mask that cannot be used. `code` is `wrong_size`, `ambiguous`, `empty` or the code of an `ImageError`."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


def mask_key(path: PurePosixPath) -> str:
    """Return the path of a mask below `masks` without `_mask` and extension: `yes/1` for `yes/1_mask.png`."""
    return str(path.parent / path.stem.removesuffix(MASK_SUFFIX))


def find_mask(masks: Masks, path: PurePosixPath) -> Path | None:
    """Return the mask of an image: a file of the same name, or of this name with `_mask` or another extension.

    Args:
        masks: Masks beside the image's class folder.
        path: Path of the image, relative to the parent of its class folder.
    """
    keys = (str(path), str(path.with_suffix("")), path.name, path.stem)
    return next((masks[key] for key in keys if key in masks), None)


def read_mask(file: Path, *, width_px: int, height_px: int) -> bytes:
    """Return the mask as an 8-bit grey PNG, 255 in the lesion and 0 elsewhere.

    The lesion is where the mask is above half of its maximum, so masks of 0 and 1 are read like masks of 0 and 255.

    Raises:
        MaskError: The mask is no readable image, has another size than its image, or is empty.
    """
    try:
        image = read_image(read_file(file)).image
    except ImageError as error:
        raise MaskError(error.code) from error
    if image.size != (width_px, height_px):
        raise MaskError(WRONG_SIZE)
    levels = np.asarray(image.convert("L"))
    if not levels.any():
        raise MaskError(EMPTY)
    return encode_png(Image.fromarray(np.where(levels > levels.max() / 2, np.uint8(255), np.uint8(0))))
