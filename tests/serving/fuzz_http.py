"""Unusual headers, and byte streams that violate HTTP."""

from collections.abc import Iterable, Iterator

from tests.serving.fuzz_client import INFER, JSON, MARKER, Case, Header, head
from tests.serving.fuzz_documents import V2, text
from tests.serving.fuzz_forms import FORM, FORM_TYPE

FILLER = b"x" * 65536
ALLOWED_HEADERS: list[Header] = [
    ("X-Request-Id", MARKER * 100),
    ("X-Request-Id", b"\xff\xfe"),
    ("Authorization", f"Bearer {MARKER}"),
    ("traceparent", MARKER),
    ("Cookie", f"patient={MARKER}"),
    ("Host", MARKER),
    ("Content-Encoding", "identity"),
    ("Expect", "100-continue"),
    ("Accept", "image/" + "x" * 3000),
    ("Range", "bytes=0-0"),
    ("X-Forwarded-For", MARKER),
    ("Ce-Id", MARKER),
]
BROKEN_HEADERS: list[Header] = [
    ("X-Request-Id", "a\rb"),
    ("X-Request-Id", "a\nb"),
    ("X-Request-Id", f"a\0{MARKER}"),
    ("X-Request-Id", "a\r\n folded"),
    ("a b", "c"),
    ("", "c"),
    ("Content-Length", "5"),
    ("Content-Length", "-1"),
    ("Content-Length", "9" * 5000),
    ("Transfer-Encoding", "gzip"),
    ("Transfer-Encoding", "chunked"),
    ("X-Long", MARKER * 10_000),
]
ACCEPTS = ("application/openmetrics-text;version=abc", "application/openmetrics-text;version==1", ";;;", b"\xff", MARKER)
QUERIES = {
    "explain=true&explain=false": {""},
    "explain=": {"wrong_shape"},
    "explain=%ff": {"wrong_shape"},
    f"explain={MARKER}": {"wrong_shape"},
    f"{MARKER}=%zz&%": {""},
    "x" * 30_000: {""},
}
WEBSOCKET: tuple[Header, ...] = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
OFFERS = ("h2c", "websocket", "TLS/1.0, h2c", MARKER, b"\xff", "")
METHODS = ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
VERSIONS = ("", "0", "-1", "01", "9" * 5000, "1.0", "1%00", "%ff", "latest", "1/versions/1", MARKER)
# These return 404 for GET and for POST.
PATHS = (
    *("//", "*", f"/{MARKER}", "/%00", "/%ff%fe", "/a" * 10_000, "/redoc", "/predict/", "/v1/models/"),
    *(
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/docs/../../serving/server.py",
        f"/docs/{MARKER}",
    ),
    *(
        f"/v1/models/{MARKER}:predict",
        f"/v1/models/{MARKER}:explain",
        "/v1/models/%ff:predict",
        "/v1/models/brain-tumor%00:predict",
    ),
    *(f"/v1/models/brain-tumor/versions/{version}:predict" for version in VERSIONS),
    *(f"/v2/models/brain-tumor/versions/{version}/infer" for version in VERSIONS),
    *("/v2/models/../models//infer", "/openai/v1/completions", "/v2/repository/index"),
)
POSTED = (f"/v2/models/{MARKER}/infer", "/v2/repository/models/brain-tumor/load", "/v2/repository/models/brain-tumor/unload")
STATIC = ("../../../../etc/passwd", "..%2f..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/__init__.py", "%00", "x" * 5000, "", MARKER)
GARBAGE = {
    "zeros": bytes(1000),
    "noise": bytes(value * 7 % 251 for value in range(5000)),
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.0": b"GET / HTTP/3.0\r\n\r\n",
    "a response": b"HTTP/1.1 200 OK\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "no path": f"GET {MARKER} HTTP/1.1\r\n\r\n".encode(),
    "unknown method": f"{MARKER} / HTTP/1.1\r\n\r\n".encode(),
    "control character in the path": b"GET /\x01 HTTP/1.1\r\n\r\n",
}
CHUNKED = head("POST", "/predict", [("Host", "fuzz"), FORM_TYPE, ("Transfer-Encoding", "chunked")])
BROKEN_CHUNKS = (
    b"ffffffffffffffffff\r\nx\r\n",
    b"-1\r\n\r\n",
    b"zz\r\n\r\n",
    b"5;" + b"x" * 10_000 + b"\n",
    b"5\r\nhellohello\r\n",
)


def chunked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Frame chunks in the chunked transfer encoding."""
    for chunk in chunks:
        yield b"%x\r\n%s\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def endless_headers() -> dict[str, Iterator[bytes]]:
    """Return streams with 30 MB of headers, or of another part without a limit."""
    start = b"POST /predict HTTP/1.1\r\nHost: fuzz\r\n"
    return {
        "header": iter([start, b"X: ", *[FILLER] * 480, b"\r\n\r\n"]),
        "headers": iter([start, *[b"X: y\r\n" * 10_000] * 500, b"\r\n"]),
        "path": iter([b"POST /", *[FILLER] * 480, b" HTTP/1.1\r\n\r\n"]),
        "chunk extension": iter([CHUNKED, b"5;", *[FILLER] * 480, b"\r\nhello\r\n0\r\n\r\n"]),
        "trailers": iter([CHUNKED, b"0\r\n", *[b"X: y\r\n" * 10_000] * 500, b"\r\n"]),
    }


def large_bodies(path: str, megabytes: int) -> list[list[bytes]]:
    """Return a request whose body is too large, with and without a Content-Length."""
    chunks = [FILLER] * (megabytes * 16)
    fields: list[Header] = [("Host", "fuzz"), FORM_TYPE if path == "/predict" else JSON]
    lengths: list[Header] = [("Content-Length", str(megabytes * 2**20)), ("Transfer-Encoding", "chunked")]
    heads = [head("POST", path, [*fields, length]) for length in lengths]
    return [[heads[0], *chunks], [heads[1], *chunked(chunks)]]


def cases() -> Iterator[Case]:
    """Generate headers without effect, each twice, and unknown paths and methods."""
    for name, value in ALLOWED_HEADERS:
        yield Case(f"{name!r}: {value[:40]!r}", {""}, "/predict", FORM, (FORM_TYPE, (name, value), (name, value)))
    for accept in ACCEPTS:
        yield Case(f"Accept: {accept!r}", {""}, "/metrics", headers=(("Accept", accept),), method="GET")
    for query, codes in QUERIES.items():
        yield Case(query[:60], codes, f"/predict?{query}", FORM, (FORM_TYPE,))
    for offer in OFFERS:
        for connection in ("Upgrade", "Upgrade, HTTP2-Settings", "close, upgrade"):
            fields: tuple[Header, ...] = (FORM_TYPE, ("Connection", connection), ("Upgrade", offer))
            yield Case(f"Upgrade: {offer!r}", {""}, "/predict", FORM, fields)
            yield Case(f"Upgrade: {offer!r}, 100-continue", {""}, "/predict", FORM, (*fields, ("Expect", "100-continue")))
    yield Case("WebSocket", {"method_not_allowed"}, "/predict", headers=WEBSOCKET, method="GET")
    for path in PATHS:
        for method in ("GET", "POST"):
            yield Case(f"{method} {path[:60]}", {"not_found"}, path, method=method)
    for path in POSTED:
        yield Case(path, {"not_found"}, path, text(V2), (JSON,))
    for name in STATIC:
        yield Case(f"static file {name[:60]}", {"not_found"}, f"/docs/static/{name}", method="GET")
    for method in METHODS:
        for path in ("/predict", "/healthz", "/model", INFER):
            yield Case(f"{method} {path}", {"method_not_allowed"}, path, method=method)


def invalid_http() -> Iterator[tuple[str, Iterable[bytes]]]:
    """Generate streams that are not HTTP, and HTTP with endless headers."""
    for name, value in BROKEN_HEADERS:
        fields: list[Header] = [("Host", "fuzz"), ("Content-Length", str(len(FORM))), FORM_TYPE, (name, value)]
        yield f"{name!r}: {value[:40]!r}", [head("POST", "/predict", fields), FORM]
    for name, data in GARBAGE.items():
        yield name, [data]
    for chunks in BROKEN_CHUNKS:
        yield f"chunk {chunks[:20]!r}", [CHUNKED + chunks]
    yield from endless_headers().items()
