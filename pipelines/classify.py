"""Classify held-out pictures of a run with the champion and write their overlays."""

import csv
import zipfile
from pathlib import Path

from components.files import written_whole
from components.register.register import champion, connect
from components.report import NOTICE


def classify_held_out(folder: Path, count: int, *, tracking_uri: str) -> int:
    """Classify `count` held-out pictures of a run, print a line each and write `examples/<n>.png` into its folder.

    Returns:
        The exit status: 0, or 2 where the registry has no champion.
    """
    from PIL import Image

    from components.saved_model import SavedModel
    from serving.images import read_picture
    from serving.overlay import render_overlay

    registered = champion(connect(tracking_uri))
    if registered is None:
        print("there is no champion: no model has passed the gate yet")
        return 2
    labels, encoded = _held_out(folder, count)
    model = SavedModel(Path(registered.uri))
    answer = model.ask("explain", encoded)
    print(f"\n  {registered.name} version {registered.version} on {len(labels)} held-out pictures:")
    with written_whole(folder / "examples") as examples:
        examples.mkdir()
        for index, (label, data) in enumerate(zip(labels, encoded, strict=True)):
            overlay = render_overlay(read_picture(data).pixels, answer["heatmap"][index])
            Image.fromarray(overlay).save(examples / f"{index + 1}.png")
            probability = ", ".join(f"{value:.3f}" for value in answer["probability"][index])
            print(f"  {folder / 'examples'}/{index + 1}.png  called {answer['label'][index]} ({probability}), labelled {label}")
    print(f"\n  {NOTICE}")
    return 0


def _held_out(folder: Path, count: int) -> tuple[list[str], list[bytes]]:
    """Return the labels and encoded bytes of the first held-out pictures, taking the labels in turn."""
    with (folder / "splits.csv").open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == "test"]
    rank: dict[str, int] = {}
    for row in rows:
        row["rank"] = rank[row["label"]] = rank.get(row["label"], -1) + 1
    chosen = sorted(rows, key=lambda row: (row["rank"], row["label"]))[:count]
    with zipfile.ZipFile(folder / "images.zip") as images:
        members = {Path(name).stem: name for name in images.namelist() if name.startswith("images/")}
        return [row["label"] for row in chosen], [images.read(members[row["sha256"]]) for row in chosen]
