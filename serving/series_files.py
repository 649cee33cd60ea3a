"""The files of a series while they are received: each part `file` of a form, or each member of a zip that is its only file."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from stream_inflate import StreamInflateError
from stream_unzip import MissingPasswordError, UnsupportedFeatureError, UnzipError, stream_unzip

from brain_tumor.dicom import is_slice_path
from serving.errors import ServiceError
from serving.form_parser import FILE, undo_transfer_encoding
from serving.settings import MAX_SLICES, Settings

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # of one with members, and of an empty one
ZIP_CHUNK_BYTES = 256 * 1024
MAX_MEMBERS = 4 * MAX_SLICES  # of a zip, those that are no slices included
MAX_FIELDS, MAX_FIELD_BYTES = 16, 1024


class _Part(NamedTuple):
    """The headers of one part of a form."""

    name: bytes
    transfer_encoding: str


class SeriesFiles:
    """Iterates over the content of each file, in the order of the request. A file takes memory until the next one is read.

    Args:
        content_type: The header of the form.
        chunks: The form while it is received.
        settings: The limits on one file, and on what a zip inflates to.

    Attributes:
        fields: The text of the other fields received so far.

    Raises:
        ServiceError: `bad_request` (no form, or a truncated one), `wrong_shape` (a zip beside other files, or too many members),
            `too_large`, `unsupported_type` (an encrypted zip, one that cannot be read from its start, or a zip in a zip),
            `corrupt`.
    """

    def __init__(self, content_type: str, chunks: Iterable[bytes], settings: Settings):
        self.fields: dict[str, str] = {}
        self._settings = settings
        self._form = _Form(content_type, chunks)
        self._count = self._field_count = self._inflated = 0

    def __iter__(self) -> Iterator[bytes]:
        is_zip = False
        for part, content in self._form.parts():
            if part.name != FILE:
                self._read_field(part, content)
                continue
            start, content = _peek(content)
            if is_zip or (start in ZIP_STARTS and self._count):
                raise ServiceError("wrong_shape", "file: got a zip beside other files, expected a zip alone")
            if is_zip := start in ZIP_STARTS:
                yield from self._unzip(content)
            else:
                data = self._read_file(content)
                yield undo_transfer_encoding(data, part.transfer_encoding, f"file[{self._count - 1}]")

    def _read_field(self, part: _Part, content: Iterator[bytes]) -> None:
        text = b""
        for chunk in content:
            text += chunk
            if len(text) > MAX_FIELD_BYTES:
                raise ServiceError("bad_request", f"form: got a field of more than {MAX_FIELD_BYTES:,} bytes beside the files")
        self._field_count += 1
        if self._field_count > MAX_FIELDS:
            raise ServiceError("bad_request", f"form: got more than {MAX_FIELDS} fields beside the files")
        self.fields[part.name.decode("latin-1")] = text.decode("latin-1")

    def _read_file(self, content: Iterator[bytes]) -> bytes:
        chunks, size, limit = [], 0, self._settings.max_file_bytes
        for chunk in content:
            size += len(chunk)
            if size > limit:
                raise ServiceError(
                    "too_large", f"file[{self._count}]: image file: got more than {limit:,} bytes, expected at most that"
                )
            chunks.append(chunk)
        self._count += 1
        return b"".join(chunks)

    def _unzip(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the content of each member that may be a slice by its path."""
        try:
            for number, (name, _, inflated) in enumerate(stream_unzip(content, chunk_size=ZIP_CHUNK_BYTES)):
                if number == MAX_MEMBERS:
                    raise ServiceError("wrong_shape", f"file: got a zip of more than {MAX_MEMBERS:,} members")
                chunks = self._limited(inflated)
                if not is_slice_path(name.decode(errors="replace")):
                    deque(chunks, maxlen=0)
                    continue
                data = self._read_file(chunks)
                if data.startswith(ZIP_STARTS):
                    raise ServiceError(
                        "unsupported_type", f"file[{self._count - 1}]: a zip in a zip is not accepted; send one zip"
                    )
                yield data
        except MissingPasswordError:
            raise ServiceError("unsupported_type", "file: the zip is encrypted; send it without a password") from None
        except UnsupportedFeatureError:
            message = (
                "file: the zip cannot be read from its start: a member is stored without its length before it, or compressed"
            )
            raise ServiceError("unsupported_type", f"{message} in an unusual way; zip with deflate") from None
        except (UnzipError, StreamInflateError):
            raise ServiceError("corrupt", "file: the zip is corrupt or truncated; make it again") from None

    def _limited(self, inflated: Iterable[bytes]) -> Iterator[bytes]:
        limit = self._settings.max_series_bytes
        for chunk in inflated:
            self._inflated += len(chunk)
            if self._inflated > limit:
                raise ServiceError("too_large", f"file: the zip inflates to more than {limit:,} bytes, expected at most that")
            yield chunk


class _Form:
    """A multipart form (RFC 7578) while it is received."""

    def __init__(self, content_type: str, chunks: Iterable[bytes]):
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise ServiceError("bad_request", "Content-Type: expected a boundary")
        self._chunks = chunks
        self._received: deque[_Part | bytes | None] = deque()  # None: the end of a part
        self._header, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._has_ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_header,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": lambda data, start, end: self._received.append(data[start:end]),
                    "on_part_end": lambda: self._received.append(None),
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise ServiceError("bad_request", "Content-Type: the boundary is too long") from None

    def parts(self) -> Iterator[tuple[_Part, Iterator[bytes]]]:
        """Yield each part with its content, which is skipped as far as it is not read before the next part."""
        events = self._events()
        for event in events:
            if isinstance(event, _Part):
                yield event, iter(lambda: next(events), None)  # type: ignore[arg-type, return-value]

    def _events(self) -> Iterator[_Part | bytes | None]:
        for chunk in self._chunks:
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise ServiceError("bad_request", "body: invalid multipart data") from None
            while self._received:
                yield self._received.popleft()
        if not self._has_ended:
            raise ServiceError("bad_request", "body: the form ends before its last boundary")

    def _begin_part(self) -> None:
        self._headers = {}

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        name = parse_options_header(self._headers.get(b"content-disposition"))[1].get(b"name")
        if name is None:
            raise ServiceError("bad_request", "form: got a part without a name, expected Content-Disposition with `name`")
        encoding = self._headers.get(b"content-transfer-encoding", b"").decode("latin-1")
        self._received.append(_Part(name, encoding))

    def _end(self) -> None:
        self._has_ended = True


def _peek(content: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes of some content, as many as a zip's start, and all of the content."""
    read = b""
    while len(read) < len(ZIP_STARTS[0]) and (chunk := next(content, b"")):
        read += chunk
    return read[: len(ZIP_STARTS[0])], chain([read], content)
