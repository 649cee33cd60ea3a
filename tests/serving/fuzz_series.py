"""Series whose forms and zips are invalid, damaged, or made to take memory."""

import random
import zipfile
from collections.abc import Iterator

from tests.serving.fuzz_client import GOOD, MARKER, Case, form, part
from tests.serving.fuzz_forms import BROKEN_FORMS, FORM_TYPE
from tests.serving.series_client import grey_slice, streamed_zip_of, zip_of

FILES = [grey_slice(40 * number, [0, 0, number]) for number in range(3)]
NAMED = {f"{MARKER}/{number}.dcm": data for number, data in enumerate(FILES)}
ZIP, STREAMED = zip_of(NAMED), streamed_zip_of(NAMED)
ZEROS = bytes(30_000_000)
# Parts, and the allowed codes of the response; "" is a response without an error.
PARTS = {
    "none": ([], {"wrong_shape"}),
    "other field": ([part(GOOD, f'form-data; name="{MARKER}"; filename="x.png"')], {"wrong_shape"}),
    "three files": ([*map(part, FILES)], {""}),
    "zip": ([part(ZIP)], {""}),
    "zip with sizes behind the data": ([part(STREAMED)], {""}),
    "zip in front of others": ([part(ZIP), part(GOOD)], {"wrong_shape"}),
    "zip behind others": ([part(GOOD), part(ZIP)], {"wrong_shape"}),
    "zip in a zip": ([part(zip_of({MARKER: ZIP}))], {"unsupported_type"}),
    "empty zip": ([part(zip_of({}))], {"wrong_shape"}),
    "zip of folders": ([part(zip_of({f"{number}/": b"" for number in range(2000)}))], {"wrong_shape"}),
    "zip of 3,000 folders": ([part(zip_of({f"{number}/": b"" for number in range(3000)}))], {"wrong_shape"}),
    "stored zip with sizes behind the data": ([part(streamed_zip_of(NAMED, zipfile.ZIP_STORED))], {"unsupported_type"}),
    "zip of a large file": ([part(zip_of({MARKER: ZEROS}))], {"too_large"}),
    "10,000 empty files": ([part(b"")] * 10_000, {"not_an_image", "too_many_slices"}),
    "10,000 fields": ([part(b"", 'form-data; name="a"')] * 10_000, {"bad_request"}),
    "600 files": ([part(GOOD)] * 600, {"too_many_slices"}),
    "long field": ([part(b"1" * 2**21, 'form-data; name="highest"')], {"bad_request"}),
    "no number": ([part(MARKER.encode(), 'form-data; name="highest"'), part(GOOD)], {"wrong_shape"}),
    "no field name": ([part(GOOD, f'form-data; filename="{MARKER}"')], {"bad_request"}),
    "50,000 headers": ([part(GOOD, headers="X: a\r\n" * 50_000)], {"bad_request"}),
    "files of two series": ([part(FILES[0]), part(grey_slice(1, SeriesInstanceUID="1.2"))], {"several_series"}),
}


def cases() -> Iterator[Case]:
    """Generate all invalid series."""
    for name, (parts, codes) in PARTS.items():
        body, content_type = form(parts)
        yield Case(name, codes, "/series", body, (content_type,))
    for name, body in BROKEN_FORMS.items():
        yield Case(name, {"bad_request", "wrong_shape"}, "/series", body, (FORM_TYPE,))


def damaged(count: int) -> Iterator[bytes]:
    """Generate the bodies of forms and zips with bytes changed, left out, repeated or cut off; the same ones in every run."""
    rng = random.Random(0)
    bodies = [form(parts)[0] for parts in ([*map(part, FILES)], [part(ZIP)], [part(STREAMED)])]
    for number in range(count):
        body = bytearray(bodies[number % len(bodies)])
        for _ in range(rng.randint(1, 4)):
            start, length = rng.randrange(len(body)), rng.choice((1, 1, 2, 4, 30, 1000))
            match rng.randrange(4):
                case 0:
                    body[start : start + length] = rng.randbytes(length)
                case 1:
                    del body[start : start + length]
                case 2:
                    body[start:start] = body[start : start + length]
                case 3:
                    body[start : start + length] = bytes(length)
        yield bytes(body if rng.random() < 0.9 else body[: rng.randrange(len(body))])
