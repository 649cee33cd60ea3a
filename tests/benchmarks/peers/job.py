"""What every peer does with an image: run the SavedModel, and draw the overlay. A peer adds its way of serving.

This module runs in the environments of the peers, which have TensorFlow, NumPy, Pillow and isal, and not the rest.
"""

import base64
import io
import os
from typing import Any

import numpy as np
from PIL import Image

from brain_tumor.overlay import COLOUR_MAPS, MAX_OVERLAY_SIDE_PX, OPACITY, overlay_png, scale_image

WORKERS = os.cpu_count() or 1
OWN, OURS = "own", "ours"  # the overlay: by Pillow, or by the project's code
COLOURS = COLOUR_MAPS["inferno"]
PNG_LEVEL = 1  # the fastest; at Pillow's default it takes most of a request


def http_port() -> int:
    return int(os.environ["HTTP_PORT"])


class Job:
    """A SavedModel in the process of a worker, of which there is one a core, so that TensorFlow gets one thread in each.

    That is TensorFlow's and the servers' advice: with more threads than cores, context switches cost throughput
    (https://github.com/bentoml/BentoML/discussions/2599).
    """

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._constant, self._string = tf.constant, tf.string
        self._loaded = tf.saved_model.load(os.environ["MODEL_DIR"])
        for explain in (True, False):  # the first call of a signature is slow
            self.run([_black_png()], explain=explain)

    def run(self, images: list[bytes], *, explain: bool = False, overlay: str = OWN) -> list[dict[str, Any]]:
        """Run one batch of encoded images.

        Args:
            images: Encoded images.
            explain: Whether heatmap and overlay are wanted.
            overlay: `OWN` or `OURS`.

        Returns:
            One prediction an image, for JSON.
        """
        signature = self._loaded.signatures["explain" if explain else "serving_default"]
        outputs = signature(image_bytes=self._constant(images, self._string))
        columns = {name: value.numpy() for name, value in outputs.items()}
        rows = []
        for index, data in enumerate(images):
            row = {
                "label": columns["label"][index].decode(),
                "probability": float(columns["probability"][index, 0]),
                "in_distribution": float(columns["in_distribution"][index]),
                "uncertain": bool(columns["uncertain"][index]),
            }
            if explain:
                heatmap = columns["heatmap"][index]
                draw = own_overlay_png if overlay == OWN else _our_overlay_png
                row |= {"heatmap": heatmap.tolist(), "overlay_png": base64.b64encode(draw(data, heatmap)).decode()}
            rows.append(row)
        return rows


def own_overlay_png(data: bytes, heatmap: np.ndarray) -> bytes:
    """Draw a heatmap, float [h, w], 0-1, over an encoded image with Pillow, as tutorials do, and encode it as a PNG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    levels = Image.fromarray((heatmap * 255).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    Image.blend(image, Image.fromarray(COLOURS[np.asarray(levels)]), OPACITY).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _our_overlay_png(data: bytes, heatmap: np.ndarray) -> bytes:
    return overlay_png(scale_image(Image.open(io.BytesIO(data)), MAX_OVERLAY_SIDE_PX), heatmap)


def _black_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (150, 150)).save(buffer, "PNG")
    return buffer.getvalue()
