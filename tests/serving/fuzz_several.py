"""Files with several images, and numbers of images that are not in the file or no numbers."""

import itertools
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np

from tests.brain_tumor.test_frames import HOSTILE, ONE, SEVERAL
from tests.brain_tumor.test_images import damaged
from tests.serving.fuzz_client import GOOD, INFER, JSON, MARKER, PREDICT, Case, form, part

FILES = SEVERAL | {name: data for name, (data, _) in ONE.items()}
TEXTS = {
    **{text: {"bad_request"} for text in ("0", "-1", "4", "2147483648", "9" * 300)},
    **{text: {"wrong_shape"} for text in ("x", "1.5", "1e3", "0x1", "\0", "1,2", "[1]", "true", "9" * 9000, MARKER)},
    **{text: {""} for text in ("2", "+2", " 2")},
}
VALUES: list[tuple[Any, set[str]]] = [
    *((value, {"bad_request"}) for value in (0, -1, 4, 2**63 - 1, -(2**63))),
    *((value, {"wrong_shape"}) for value in ("2", MARKER, "", True, False, 1.0, 1.5, 1e300, 2**70, [], [2], {}, {"frame": 2})),
    (None, {"several_images", "wrong_shape"}),
    *((value, {""}) for value in (1, 2, 3)),
]


def cases() -> Iterator[Case]:
    """Generate requests in every protocol that speaks JSON or forms."""
    for name, data in (SEVERAL | HOSTILE).items():
        codes = {"several_images"} if name in SEVERAL else {"", "several_images", "corrupt", "not_an_image", "unsupported_type"}
        body, content_type = form([part(data)])
        yield Case(name, codes, "/predict?explain=true", body, (content_type,))
        yield Case(f"frame 3 of {name}", codes | {"", "bad_request", "corrupt"}, "/predict?frame=3", body, (content_type,))
    stack = SEVERAL["TIFF"]
    for text, codes in TEXTS.items():
        body, content_type = form([part(stack)])
        yield Case(f"frame {text[:40]!r}", codes, f"/predict?frame={quote(text)}", body, (content_type,))
        body, content_type = form([part(stack), part(text.encode(), 'form-data; name="frame"')])
        yield Case(f"frame {text[:40]!r} in the form", codes, "/predict", body, (content_type,))
    encoded = b64encode(stack).decode()
    for value, codes in VALUES:
        v1 = {"instances": [{"image_bytes": {"b64": encoded}, "frame": value}, {"b64": b64encode(GOOD).decode(), "frame": 1}]}
        tensor = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [encoded]}
        yield Case(f"V1, frame {value!r}", codes, PREDICT, json.dumps(v1).encode(), (JSON,))
        for v2 in ({"inputs": [tensor], "parameters": {"frame": value}}, {"inputs": [tensor | {"parameters": {"frame": value}}]}):
            yield Case(f"V2, frame {value!r}", codes, INFER, json.dumps(v2).encode(), (JSON,))


def damaged_files(count: int) -> Iterator[tuple[str, bytes]]:
    """Generate damaged files in turn, each with the path that chooses one of its images or none."""
    rng = np.random.default_rng(1)
    for name in itertools.islice(itertools.cycle(sorted(FILES)), count):
        frame = rng.integers(-1, 5)
        yield "/predict" if frame == -1 else f"/predict?frame={frame}&explain=true", damaged(FILES[name], rng)
