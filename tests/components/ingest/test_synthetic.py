"""Datasets of synthetic phantoms."""

from pathlib import Path

from PIL import Image

from components.ingest.synthetic import write_phantoms


def test_same_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, n, seed in (("a", 6, 1), ("b", 10, 1), ("c", 6, 2)):
        write_phantoms(tmp_path / name, n=n, seed=seed)
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.png"))
    assert [str(file) for file in files] == [
        *(f"masks/phantom-0000{index}.png" for index in (0, 2, 4)),
        *(f"no_tumor/phantom-0000{index}.png" for index in (1, 3, 5)),
        *(f"tumor/phantom-0000{index}.png" for index in (0, 2, 4)),
    ]
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_written_mask_has_the_size_of_its_image(tmp_path: Path) -> None:
    write_phantoms(tmp_path, n=2, seed=0)
    with Image.open(tmp_path / "tumor/phantom-00000.png") as image, Image.open(tmp_path / "masks/phantom-00000.png") as mask:
        assert (image.mode, mask.mode) == ("L", "L")
        assert image.size == mask.size
