"""Compressed request bodies: the codings of the header Content-Encoding (RFC 9110, 8.4)."""

import zlib
from collections.abc import Iterable, Iterator

from serving.errors import ServiceError

NAMES = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
MAX_CODINGS = 4
MAX_GZIP_MEMBERS = 1_000
PIECE_BYTES = 256 * 1024
GZIP, ZLIB, RAW_DEFLATE = 31, 15, -15  # zlib's `wbits`


class BodyDecoder:
    """Decompresses a request body while it is received, in pieces of up to `PIECE_BYTES`.

    Args:
        header: Content-Encoding, the codings in the order in which the client applied them; empty for none.
        limit: Maximum number of compressed bytes; the caller limits the decompressed ones.

    Raises:
        ServiceError: `unsupported_type`, for a coding that is unknown or for too many.
    """

    def __init__(self, header: str, limit: int):
        codings = [name for name in map(str.strip, header.lower().split(",")) if name not in ("", "identity")]
        if len(codings) > MAX_CODINGS or not set(codings) <= set(NAMES):
            error = ServiceError("unsupported_type", f"Content-Encoding: expected gzip or deflate, up to {MAX_CODINGS} codings")
            error.headers = {"Accept-Encoding": "gzip, deflate"}
            raise error
        self._stages = [_Inflater(NAMES[name], limit) for name in reversed(codings)]

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the body decompress to.

        Raises:
            ServiceError: `bad_request` for invalid data, `too_large` for too many compressed bytes.
        """
        pieces: Iterator[bytes] = iter([data])
        for stage in self._stages:
            pieces = stage.decode(pieces)
        return pieces

    def finish(self) -> None:
        """Raise ServiceError `bad_request` if the body is truncated."""
        for stage in self._stages:
            stage.finish()


class _Inflater:
    """Decompresses one coding: gzip of one or more members, or deflate with or without zlib's header, which clients omit."""

    def __init__(self, coding: str, limit: int):
        self._coding, self._limit = coding, limit
        self._stream = zlib.decompressobj(GZIP if coding == "gzip" else ZLIB)
        self._start = b""  # of a deflate stream, until its first two bytes are there
        self._received = 0
        self._members = 1

    def decode(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._received += len(piece)
            if self._received > self._limit:
                raise ServiceError("too_large", f"body: expected at most {self._limit:,} bytes")
            yield from self._inflate(piece if self._coding == "gzip" else self._with_start(piece))

    def finish(self) -> None:
        if not self._stream.eof:
            raise ServiceError("bad_request", f"body: the {self._coding} data is truncated")

    def _with_start(self, piece: bytes) -> bytes:
        if self._received - len(piece) >= 2:
            return piece
        self._start += piece
        if len(self._start) < 2:
            return b""
        if self._start[0] & 15 != zlib.DEFLATED or int.from_bytes(self._start[:2], "big") % 31:  # RFC 1950, 2.2
            self._stream = zlib.decompressobj(RAW_DEFLATE)
        return self._start

    def _inflate(self, rest: bytes) -> Iterator[bytes]:
        while rest := self._start_next_member(rest) if self._stream.eof else rest:
            try:
                yield (output := self._stream.decompress(rest, PIECE_BYTES))
                while not self._stream.eof and (self._stream.unconsumed_tail or len(output) == PIECE_BYTES):
                    yield (output := self._stream.decompress(self._stream.unconsumed_tail, PIECE_BYTES))
            except zlib.error as error:
                raise ServiceError("bad_request", f"body: not valid {self._coding}: {error}") from None
            rest = self._stream.unused_data

    def _start_next_member(self, rest: bytes) -> bytes:
        """Return the bytes from the next gzip member on, without zeros before it: padded files end with them."""
        rest = rest.lstrip(b"\0") if self._coding == "gzip" else rest
        if rest and (self._coding != "gzip" or self._members == MAX_GZIP_MEMBERS):
            raise ServiceError("bad_request", f"body: got bytes after the end of the {self._coding} data")
        if rest:
            self._members += 1
            self._stream = zlib.decompressobj(GZIP)
        return rest
