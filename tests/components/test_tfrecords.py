"""The records are those of TensorFlow, to the byte."""

from pathlib import Path

import pytest

from components.tfrecords import TFRecordWriter, encode_example


@pytest.mark.parametrize(
    ("image", "group"), [(b"", 0), (b"\x89P", 1), (bytes(range(256)) * 3, 127), (bytes(70_000), 128), (b"x" * 2**21, 2**40)]
)
def test_records_equal_those_of_tensorflow(image: bytes, group: int, tmp_path: Path) -> None:
    import tensorflow as tf

    features: dict[str, bytes | int] = {"image_bytes": image, "label": 0, "group": group, "sha256": b"f" * 64}
    expected = tf.train.Example()
    for name, value in features.items():
        if isinstance(value, bytes):
            expected.features.feature[name].bytes_list.value.append(value)
        else:
            expected.features.feature[name].int64_list.value.append(value)
    records = [expected.SerializeToString(deterministic=True), b""]
    assert encode_example(features) == records[0]
    with TFRecordWriter(tmp_path / "ours") as writer, tf.io.TFRecordWriter(str(tmp_path / "theirs")) as reference:
        for record in records:
            writer.write(record)
            reference.write(record)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
