import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor.errors import InputError
from components.pytorch_weights import MAGIC_NUMBER, read_state_dict


class Named:
    """A stand-in for a class of PyTorch: pickled by its name alone."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


PurePickler: Any = pickle._Pickler  # type: ignore[attr-defined, unused-ignore]


class StateDictPickler(PurePickler):
    """Writes tensors as PyTorch does: `_rebuild_tensor_v2` on a storage that is stored elsewhere."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, tuple) and obj and obj[0] == "tensor":
            _, key, kind, count, offset, size, strides = obj
            self.save(Named("torch._utils", "_rebuild_tensor_v2"))
            self.write(pickle.MARK)
            self.save(("storage", Named("torch", kind), key, "cpu", count, None))
            self.write(pickle.BINPERSID)
            for each in (offset, size, strides, False, None):
                self.save(each)
            self.write(pickle.TUPLE + pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def state_dict_file(path: Path, tensors: dict[str, Any], storages: dict[str, np.ndarray]) -> Path:
    with path.open("wb") as file:
        for each in (MAGIC_NUMBER, 1001, {"little_endian": True}):
            pickle.dump(each, file, protocol=2)
        StateDictPickler(file, protocol=2).dump(tensors)
        pickle.dump(sorted(storages), file, protocol=2)
        for _, values in sorted(storages.items()):
            file.write(struct.pack("<q", values.size) + values.tobytes())
    return path


def test_tensors_share_storages_by_offset_and_strides(tmp_path: Path) -> None:
    numbers = np.arange(10, dtype="<f4")
    tensors = {
        "whole": ("tensor", "0", "FloatStorage", 10, 0, (2, 5), (5, 1)),
        "transposed": ("tensor", "0", "FloatStorage", 10, 4, (2, 3), (1, 2)),
        "count": ("tensor", "1", "LongStorage", 1, 0, (), ()),
    }
    state = read_state_dict(state_dict_file(tmp_path / "w.pth", tensors, {"0": numbers, "1": np.array([7], "<i8")}))
    assert list(state) == ["whole", "transposed", "count"]
    assert np.array_equal(state["whole"], numbers.reshape(2, 5))
    assert state["transposed"].tolist() == [[4, 6, 8], [5, 7, 9]]
    assert state["count"].item() == 7
    assert state["count"].dtype == np.dtype(np.int64)


def test_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "made"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (target,))

    buffer = io.BytesIO()
    content: tuple[Any, ...] = (MAGIC_NUMBER, 1001, {}, Attack())
    for each in content:
        pickle.dump(each, buffer, protocol=2)
    (tmp_path / "attack.pth").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=r"^attack\.pth: got .*, expected a state dict of PyTorch$"):
        read_state_dict(tmp_path / "attack.pth")
    assert not target.exists()


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps(3), pickle.dumps(MAGIC_NUMBER, protocol=2)])
def test_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"^w\.pth: got "):
        read_state_dict(tmp_path / "w.pth")


def test_truncated_storage_is_refused(tmp_path: Path) -> None:
    path = state_dict_file(tmp_path / "w.pth", {"a": ("tensor", "0", "FloatStorage", 9, 0, (9,), (1,))}, {"0": np.ones(9, "<f4")})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"^w\.pth: got "):
        read_state_dict(path)
