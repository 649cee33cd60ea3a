"""Whatever `read_image` lets through, TensorFlow decodes: over 4,000 files made here and the 1,000 of Pillow's tests."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from brain_tumor.errors import ImageError
from brain_tumor.images import InputImage, read_image
from tests import tools
from tests.brain_tumor import test_formats
from tests.brain_tumor.test_frames import ONE, SEVERAL
from tests.brain_tumor.test_images import EVERY, Decode, damaged
from tests.brain_tumor.test_images import decode as decode
from tests.serving.fuzz_png import PNGS, with_valid_checksums

MADE = 4000
FRAMES = (None, 1, 2, 3)
SOURCES = {
    **{name: data for name, (data, _) in (EVERY | ONE).items()},
    **SEVERAL,
    **{f"metadata, {name}": data for name, data in (test_formats.JPEGS | test_formats.PNGS).items() if len(data) < 200_000},
    **{name: data for name, data in PNGS.items() if len(data) < 200_000},
}


def made() -> Iterator[tuple[str, bytes]]:
    """Generate damaged files, ends of one after the start of another, and files with a part of another put into them."""
    rng, names = np.random.default_rng(0), sorted(SOURCES)
    for number in range(MADE):
        name = names[number % len(names)]
        data, other = SOURCES[name], SOURCES[names[rng.integers(len(names))]]
        match rng.integers(6):
            case 0:
                data = data[: rng.integers(len(data))] + other[rng.integers(len(other)) :]
            case 1:
                at = rng.integers(64 if rng.integers(2) else len(data))
                data = data[:at] + other[: rng.integers(1, 200)] + data[at:]
            case _:
                data = damaged(data, rng)
        yield f"{name}, damaged {number}", with_valid_checksums(data) if rng.integers(2) else data


def assert_decodes(name: str, image: InputImage, decode: Decode, *, is_damaged: bool) -> None:
    decoded = decode(image.data)
    assert decoded.shape == image.pixels.shape, name
    if image.data.startswith(b"\x89PNG"):
        np.testing.assert_array_equal(decoded, image.pixels, err_msg=name)
    elif not is_damaged:  # the two decoders round differently, and mend damage differently
        assert np.abs(decoded.astype(int) - image.pixels).mean() < 3, name


def sweep(files: Iterator[tuple[str, bytes]], decode: Decode, *, is_damaged: bool) -> Counter[str]:
    """Read every file, and every frame of one with several images; return the number of files by outcome."""
    outcomes: Counter[str] = Counter()
    for name, data in files:
        for frame in FRAMES:
            try:
                image = read_image(data, frame=frame)
            except ImageError as error:
                outcome = error.code
            else:
                outcome = "read"
                assert_decodes(name, image, decode, is_damaged=is_damaged)
            if frame is None:
                outcomes[outcome] += 1
                if outcome != "several_images":
                    break
    return outcomes


def test_what_is_read_of_made_files_decodes(decode: Decode) -> None:
    outcomes = sweep(made(), decode, is_damaged=True)
    assert outcomes.total() == MADE
    assert outcomes["read"] > MADE / 5
    assert min(outcomes[code] for code in ("corrupt", "not_an_image", "several_images", "unsupported_type")) > 0, outcomes


def test_what_is_read_of_the_images_of_pillow_decodes(decode: Decode) -> None:
    files = sorted(file for file in tools.require_folder(tools.PILLOW_IMAGES).rglob("*") if file.is_file())
    outcomes = sweep(((file.name, file.read_bytes()) for file in files), decode, is_damaged=False)
    assert outcomes.total() > 1000
    assert outcomes["read"] > 500
    assert outcomes["several_images"] > 50
