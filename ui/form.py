"""Files as a form that is sent piece by piece: no copy of them is made."""

import secrets
from collections.abc import Iterator, Sequence

PIECE_BYTES = 64 * 1024


class FileForm:
    """Parts of the name `file` as multipart/form-data (RFC 7578), without the files' names."""

    def __init__(self, files: Sequence[bytes]):
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="slice"\r\n\r\n'.encode()
        self._parts = [part for file in files for part in (head, file, b"\r\n")] + [f"--{boundary}--\r\n".encode()]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[memoryview]:
        for part in self._parts:
            for start in range(0, len(part), PIECE_BYTES):
                yield memoryview(part)[start : start + PIECE_BYTES]
