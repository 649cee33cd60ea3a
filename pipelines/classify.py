"""Classify held-out pictures of a run with the champion and write each beside its overlay."""

from itertools import zip_longest
from pathlib import Path

from components.dataset import HELD_OUT, ImagesZip, read_splits
from components.files import written_whole
from components.register.register import champion, connect, local_copy
from components.report import NOTICE
from components.saved_model import TRAINING_HASHES, SavedModel


def classify_held_out(folder: Path, count: int, *, tracking_uri: str) -> int:
    """Classify `count` held-out pictures of a run, print a line each and write `examples/<n>.png` into its folder.

    Returns:
        The exit status: 0, or 2 where the registry has no champion.
    """
    import numpy as np
    from PIL import Image

    from serving.images import read_picture
    from serving.overlay import MAX_SIDE_PX, render_overlay, scale_picture

    registered = champion(connect(tracking_uri))
    if registered is None:
        print("there is no champion: no model has passed the gate yet")
        return 2
    with local_copy(registered) as model_dir:
        seen = set((model_dir / TRAINING_HASHES).read_text().split())
        labels, encoded = _held_out(folder, count, seen)
        if not labels:
            print("the champion was trained on every picture that is held out here")
            return 0
        answer = SavedModel(model_dir).ask("explain", encoded)
    print(f"\n  {registered.name} version {registered.version} on {len(labels)} held-out pictures:")
    with written_whole(folder / "examples") as examples:
        examples.mkdir()
        for index, (label, data) in enumerate(zip(labels, encoded, strict=True)):
            picture = scale_picture(read_picture(data).pixels, MAX_SIDE_PX)
            pair = np.hstack([picture, render_overlay(picture, answer["heatmap"][index])])
            Image.fromarray(pair).save(examples / f"{index + 1}.png")
            probability = ", ".join(f"{value:.3f}" for value in answer["probability"][index])
            print(f"  {folder / 'examples'}/{index + 1}.png  called {answer['label'][index]} ({probability}), labelled {label}")
    print(f"\n  {NOTICE}")
    return 0


def _held_out(folder: Path, count: int, seen: set[str]) -> tuple[list[str], list[bytes]]:
    """Return the labels and encoded bytes of the first held-out pictures, taking the labels in turn, without those in `seen`."""
    samples = [sample for sample in read_splits(folder / "splits.csv") if sample.split == HELD_OUT and sample.sha256 not in seen]
    by_label = [[sample for sample in samples if sample.label == label] for label in sorted({s.label for s in samples})]
    in_turn = [sample for row in zip_longest(*by_label) for sample in row if sample][:count]
    with ImagesZip(folder / "images.zip") as images:
        return [sample.label for sample in in_turn], [images.read_bytes(sample.sha256) for sample in in_turn]
