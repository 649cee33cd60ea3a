"""Forms that are invalid, of the wrong type, or truncated."""

from base64 import b64encode
from collections.abc import Iterator

from tests.serving.fuzz_client import GOOD, MARKER, Case, form, part

FORM, FORM_TYPE = form([part(GOOD)])
FILE = 'form-data; name="file"'
# Parts, and the allowed codes of the response; "" is a response without an error.
PARTS = {
    "none": ([], {"wrong_shape"}),
    "other field": ([part(GOOD, f'form-data; name="{MARKER}"; filename="x.png"')], {"wrong_shape"}),
    "file without a name": ([part(GOOD, FILE)], {""}),
    "text in place of the file": ([part(MARKER.encode(), FILE)], {"not_an_image"}),
    "no field name": ([part(GOOD, f'form-data; filename="{MARKER}"')], {"bad_request"}),
    "no disposition": ([b"\r\n" + GOOD], {"bad_request"}),
    "no head": ([GOOD], {"bad_request"}),
    "two files": ([part(GOOD), part(GOOD)], {"wrong_shape"}),
    "empty file": ([part(b"")], {"not_an_image"}),
    "10,000 empty parts": ([part(b"")] * 10_000, {"bad_request"}),
    "10,000 fields": ([part(b"", 'form-data; name="a"')] * 10_000, {"bad_request"}),
    "10,000 parts of nothing": ([b""] * 10_000, {"bad_request"}),
    "long header": ([part(GOOD, headers=f"X-Long: {MARKER * 4000}\r\n")], {"bad_request"}),
    "50,000 headers": ([part(GOOD, headers="X: a\r\n" * 50_000)], {"bad_request"}),
    "long file name": ([part(GOOD, f'{FILE}; filename="{MARKER * 10_000}"')], {"bad_request"}),
    "encoded file name": ([part(GOOD, f"{FILE}; filename*=klingon''%ff%00{MARKER}")], {""}),
    "no base64": ([part(GOOD, headers="Content-Transfer-Encoding: base64\r\n")], {"bad_request"}),
    "base64": ([part(b64encode(GOOD), headers="Content-Transfer-Encoding: BASE64\r\n")], {""}),
    "base64 of nothing": ([part(b"", headers="Content-Transfer-Encoding: base64\r\n")], {"not_an_image"}),
    "field explain": ([part(b"on", 'form-data; name="explain"'), part(GOOD)], {""}),
    "field explain, twice": ([part(b"1", 'form-data; name="explain"')] * 2 + [part(GOOD)], {""}),
    "field explain, other text": ([part(MARKER.encode(), 'form-data; name="explain"'), part(GOOD)], {"wrong_shape"}),
    "explain as a file": ([part(GOOD, 'form-data; name="explain"; filename="x"'), part(GOOD)], {"wrong_shape"}),
    "path as file name": ([part(GOOD, f"{FILE}; filename=../../{MARKER}")], {""}),
    "zero byte in the file name": ([part(GOOD, f'{FILE}; filename="{MARKER}\0.png"')], {""}),
    "unknown encodings": ([part(GOOD, headers="Content-Transfer-Encoding: x\r\nContent-Type: image/png; charset=x\r\n")], {""}),
    "2 MB of text": ([part(b"x" * 2**21, 'form-data; name="a"'), part(GOOD)], {"bad_request"}),
    "text that is no UTF-8": ([part(b"\xff\xfe", 'form-data; name="a"'), part(GOOD)], {"", "bad_request"}),
}
FORM_TYPES: dict[str | bytes, set[str]] = {
    "Multipart/Form-Data; boundary=b0undary": {""},
    "multipart/form-data; boundary=b0undary; charset=x": {""},
    "multipart/form-data": {"bad_request"},
    "multipart/form-data; boundary=": {"bad_request"},
    f"multipart/form-data; boundary={MARKER}": {"bad_request"},
    f"multipart/form-data; boundary={'x' * 10_000}": {"bad_request"},
    b"multipart/form-data; boundary=\xe9\xff": {"bad_request"},
    "multipart/mixed; boundary=b0undary": {"unsupported_type"},
    "application/x-www-form-urlencoded": {"unsupported_type"},
    "application/json": {"unsupported_type"},
    "text/plain": {"unsupported_type"},
    "": {"unsupported_type"},
}
BROKEN_FORMS = {
    "boundaries only": b"--b0undary\r\n" * 100_000,
    "line ends": b"\r\n" * 2_000_000,
    "dashes": b"-" * 4_000_000,
    "beginnings of boundaries": b"--b0undary\r\n\r\n" + b"\r\n--b0undar" * 400_000,
    "4 MB before it": b"A" * 4_000_000 + FORM,
    "4 MB of lines before no part": b"\n--b0undar" * 400_000,
}


def cases() -> Iterator[Case]:
    """Generate all invalid forms."""
    for name, (parts, codes) in PARTS.items():
        body, content_type = form(parts)
        yield Case(name, codes, "/predict", body, (content_type,))
    for value, codes in FORM_TYPES.items():
        yield Case(f"as {value[:60]!r}", codes, "/predict", FORM, (("Content-Type", value),))
    for name, body in BROKEN_FORMS.items():
        yield Case(name, {"bad_request", "wrong_shape"}, "/predict", body, (FORM_TYPE,))
    for name, before in {"text": b"text\r\n", "lines": b"\r\n" * 500_000, "dashes": b"--b0undar\r\n--\r\n"}.items():
        yield Case(f"after {name}", {""}, "/predict", before + FORM, (FORM_TYPE,))
    for end in range(0, len(FORM) - 14, 9):
        yield Case(f"cut at {end}", {"bad_request", "wrong_shape"}, "/predict", FORM[:end], (FORM_TYPE,))
