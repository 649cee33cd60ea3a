"""Read the weights of a PyTorch state dict in the legacy format (before PyTorch 1.6), without PyTorch.

The file is a sequence of pickles: a magic number, a protocol version, facts about the machine, the state dict, and the keys of
its storages; then for each key the number of elements, int64, and the elements. Source: `torch.serialization`, `_legacy_load`.
"""

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from brain_tumor.errors import InputError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a state dict by name.

    The unpickler knows tensors of float32 and int64 in an OrderedDict and refuses everything else, so the file cannot run code.

    Raises:
        InputError: The file is not such a state dict.
    """
    try:
        with path.open("rb") as file:
            if _Unpickler(file).load() != MAGIC_NUMBER:
                raise pickle.UnpicklingError("no PyTorch file in the legacy format")
            _Unpickler(file).load()  # protocol version
            _Unpickler(file).load()  # facts about the machine
            state = _Unpickler(file)
            tensors = state.load()
            storages = {key: _read_storage(file, state.dtypes[key]) for key in _Unpickler(file).load()}
    except (OSError, EOFError, KeyError, ValueError, struct.error, pickle.UnpicklingError) as error:
        raise InputError(f"{path.name}: got {error}, expected a state dict of PyTorch") from error
    return {name: _array(storages[key], offset, size, strides) for name, (key, offset, size, strides) in tensors.items()}


class _Unpickler(pickle.Unpickler):
    """An unpickler for which a tensor is (key of its storage, offset, size, strides).

    Attributes:
        dtypes: The dtype of each storage by its key.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file)
        self.dtypes: dict[str, np.dtype] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, size, strides, *_: (key, offset, size, strides)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return key


def _read_storage(file: BinaryIO, dtype: np.dtype) -> np.ndarray:
    (count,) = struct.unpack("<q", file.read(8))
    return np.frombuffer(file.read(count * dtype.itemsize), dtype, count)


def _array(storage: np.ndarray, offset: int, size: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    strided = np.lib.stride_tricks.as_strided(storage[offset:], size, [stride * storage.itemsize for stride in strides])
    return np.ascontiguousarray(strided)
