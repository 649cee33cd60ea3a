from typing import Any

import pytest

from serving.grpc_limits import MAX_NON_IMAGE_BYTES, non_image_bytes
from tests.serving import fuzz_grpc
from tests.serving.fuzz_binary import BLOB
from tests.serving.fuzz_client import GOOD


@pytest.mark.parametrize(("message", "image"), [(fuzz_grpc.infer(), GOOD), (fuzz_grpc.raw(BLOB), BLOB)])
def test_non_image_bytes_counts_everything_but_the_image(message: Any, image: bytes) -> None:
    encoded = message.SerializeToString()
    assert non_image_bytes(memoryview(encoded)) == len(encoded) - len(image)
    message.inputs[0].shape.extend([1 << 60] * MAX_NON_IMAGE_BYTES)
    assert non_image_bytes(memoryview(message.SerializeToString())) > MAX_NON_IMAGE_BYTES
    with pytest.raises(IndexError):
        non_image_bytes(memoryview(encoded[:1]))
