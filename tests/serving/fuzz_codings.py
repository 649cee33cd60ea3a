"""Compressed bodies: sound, damaged, truncated, and of a size far above the limit."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hypothesis import strategies as st

from tests.serving.fuzz_client import INFER, JSON, MARKER, PREDICT, Case, Header
from tests.serving.fuzz_documents import V1, V2, text
from tests.serving.fuzz_forms import FORM, FORM_TYPE


class Compressed(NamedTuple):
    """A body and its Content-Encoding."""

    coding: str
    body: bytes


def deflate(data: bytes) -> bytes:
    """Compress without zlib's header."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:]) + bytes(20),
    "deflate": zlib.compress,
    "deflate, ": deflate,
    "gzip, deflate": lambda data: zlib.compress(gzip.compress(data)),
    "identity": bytes,
}
UNKNOWN: tuple[str | bytes, ...] = ("br", "zstd", "gzip, br", "gzip;q=1", "*", "gzip," * 5, "gzip," * 10_000, MARKER, b"\xff")


def bombs() -> dict[str, Compressed]:
    """Return bodies that decompress to far more than the limit, or to nothing after much work."""
    zeros, members = gzip.compress(bytes(300 << 20), 1), gzip.compress(b"") * 1_000_000
    return {
        "zeros": Compressed("gzip", zeros),
        "zeros, twice": Compressed("gzip, gzip", gzip.compress(zeros)),
        "members of nothing": Compressed("gzip", members),
        "members of nothing, compressed": Compressed("gzip, deflate", zlib.compress(members)),
        "a file name without an end": Compressed("gzip", b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (31 << 20)),
        "zeros after the end": Compressed("gzip", gzip.compress(text(V1)) + bytes(40 << 20)),
    }


@st.composite
def broken(draw: st.DrawFn) -> Compressed:
    """Generate a compressed V1 body, changed at one position, cut, or with bytes after it, as another coding in some cases."""
    coding = draw(st.sampled_from(list(COMPRESS)))
    body = COMPRESS[coding](text(V1))
    start = draw(st.integers(0, len(body)))
    body = body[:start] + draw(st.binary(max_size=4)) + body[start + draw(st.integers(0, 9)) :]
    return Compressed(draw(st.sampled_from([coding, coding, coding, *COMPRESS])), body[: draw(st.integers(0, 2 * len(body)))])


def cases() -> Iterator[Case]:
    """Generate sound bodies, unknown codings, and decompression bombs for every route with a body."""
    large = bombs()
    for path, body, content_type in ((PREDICT, text(V1), JSON), (INFER, text(V2), JSON), ("/predict", FORM, FORM_TYPE)):
        for coding, compress in COMPRESS.items():
            fields: tuple[Header, ...] = (content_type, ("Content-Encoding", coding))
            yield Case(coding, {""}, path, compress(body), fields)
            if coding != "identity":
                yield Case(f"{coding}, cut", {"bad_request"}, path, compress(body)[:-22], fields)
                yield Case(f"not {coding}", {"bad_request"}, path, body, fields)
        for name in UNKNOWN:
            yield Case(f"{name[:40]!r}", {"unsupported_type"}, path, body, (content_type, ("Content-Encoding", name)))
        for name, bomb in large.items():
            fields = (content_type, ("Content-Encoding", bomb.coding))
            yield Case(name, {"too_large", "bad_request"}, path, bomb.body, fields)
