"""The files of a series are read from a form or a zip while it is received, whatever the size of its chunks."""

import base64
import zipfile
from collections.abc import Iterator

import pytest

from serving.errors import ServiceError
from serving.series_files import MAX_MEMBERS, SeriesFiles
from serving.settings import Settings
from tests.serving.fuzz_client import form, part
from tests.serving.series_client import streamed_zip_of, zip_of

SETTINGS = Settings(max_file_bytes=5000, max_series_bytes=20_000)
CONTENTS = [b"first", b"", b"\r\n--b0undar\r\n--" * 9, bytes(range(256)) * 9]
NAMED = {f"{number}.dcm": data for number, data in enumerate(CONTENTS)}
CHUNK_BYTES = pytest.mark.parametrize("chunk_bytes", [1, 7, 1000, 10**6])


def read(parts: list[bytes], chunk_bytes: int = 10**6, end: int | None = None) -> SeriesFiles:
    body, (_, content_type) = form(parts)
    body = body[:end]
    assert isinstance(content_type, str)
    return SeriesFiles(content_type, (body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)), SETTINGS)


def rejection(parts: list[bytes]) -> tuple[str, str]:
    """Return the code and the message of the error that ends the reading of a form."""
    with pytest.raises(ServiceError) as rejected:
        list(read(parts))
    return rejected.value.code, rejected.value.detail


@CHUNK_BYTES
def test_parts_are_read_in_their_order_with_the_fields(chunk_bytes: int) -> None:
    field = part(b"7", 'form-data; name="highest"')
    files = read([part(CONTENTS[0]), field, *map(part, CONTENTS[1:])], chunk_bytes)
    assert list(files) == CONTENTS
    assert files.fields == {"highest": "7"}


@CHUNK_BYTES
@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
def test_members_of_a_zip_are_read_in_their_order(compression: int, chunk_bytes: int) -> None:
    assert list(read([part(zip_of(NAMED, compression))], chunk_bytes)) == CONTENTS


@CHUNK_BYTES
def test_zip_with_sizes_behind_the_data_is_read(chunk_bytes: int) -> None:
    assert list(read([part(streamed_zip_of(NAMED))], chunk_bytes)) == CONTENTS


def test_what_is_no_slice_in_a_zip_is_skipped() -> None:
    others = ("study/", "__MACOSX/study/._1.dcm", ".DS_Store", "study/.hidden/1.dcm", "DICOMDIR", "cd\\dicomdir", "__MACOSX/")
    named = dict.fromkeys(others, b"") | {"study/1.dcm": b"one", "./study/2": b"two"}
    assert list(read([part(zip_of(named))])) == [b"one", b"two"]


def test_file_is_read_before_the_next_one_is_received() -> None:
    body, (_, content_type) = form(map(part, CONTENTS))
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for sent in range(len(body)):
            yield body[sent : sent + 1]

    assert isinstance(content_type, str)
    files = iter(SeriesFiles(content_type, chunks(), SETTINGS))
    assert next(files) == CONTENTS[0]
    assert sent < body.index(CONTENTS[3])


def test_transfer_encoding_is_undone() -> None:
    encoded = part(base64.b64encode(CONTENTS[3]), headers="Content-Transfer-Encoding: base64\r\n")
    assert list(read([encoded])) == [CONTENTS[3]]
    broken = part(b"%%%", headers="Content-Transfer-Encoding: base64\r\n")
    assert rejection([part(b"1"), broken])[1].startswith("file[1]: not valid base64")


@pytest.mark.parametrize(
    "data", [part(CONTENTS[3]), part(zip_of(NAMED)), part(streamed_zip_of(NAMED))], ids=["file", "zip", "stream"]
)
def test_truncated_form_is_no_whole_one(data: bytes) -> None:
    length = len(form([data])[0])
    for end in range(0, length - 4, 97):
        with pytest.raises(ServiceError) as rejected:
            list(read([data], end=end))
        assert rejected.value.code in ("bad_request", "corrupt")


def test_damaged_zip_is_corrupt() -> None:
    whole = zip_of(NAMED)
    damaged = bytearray(whole)
    damaged[whole.index(b"3.dcm") + 20] ^= 255
    assert rejection([part(bytes(damaged))]) == ("corrupt", "file: the zip is corrupt or truncated; make it again")
    assert rejection([part(whole[: whole.index(b"3.dcm") + 20])])[0] == "corrupt"


def test_zip_that_cannot_be_read_is_named() -> None:
    code, message = rejection([part(streamed_zip_of(NAMED, zipfile.ZIP_STORED))])
    assert (code, "stored without its length before it" in message) == ("unsupported_type", True)
    encrypted = bytearray(zip_of(NAMED))
    encrypted[6] |= 1
    assert rejection([part(bytes(encrypted))]) == ("unsupported_type", "file: the zip is encrypted; send it without a password")
    nested = zip_of({"1.dcm": b"1", "2.zip": zip_of(NAMED)})
    assert rejection([part(nested)]) == ("unsupported_type", "file[1]: a zip in a zip is not accepted; send one zip")
    for both in ([part(b"1"), part(zip_of(NAMED))], [part(zip_of(NAMED)), part(b"1")], [part(zip_of(NAMED))] * 2):
        assert rejection(both) == ("wrong_shape", "file: got a zip beside other files, expected a zip alone")


def test_limits_on_files_zips_and_fields() -> None:
    large = "image file: got more than 5,000 bytes, expected at most that"
    assert rejection([part(b"1"), part(bytes(5001))]) == ("too_large", f"file[1]: {large}")
    assert rejection([part(zip_of({"1": b"", "2": bytes(5001)}))]) == ("too_large", f"file[1]: {large}")
    for name in ("1.dcm", "__MACOSX/1"):
        bomb = zip_of({f"{number}{name}": bytes(5000) for number in range(5)} if name == "1.dcm" else {name: bytes(30_000)})
        assert rejection([part(bomb)]) == ("too_large", "file: the zip inflates to more than 20,000 bytes, expected at most that")
    assert rejection([part(zip_of({f"{number}/": b"" for number in range(MAX_MEMBERS + 1)}))])[0] == "wrong_shape"
    assert rejection([part(b"", f'form-data; name="{number}"') for number in range(17)])[0] == "bad_request"
    assert rejection([part(bytes(1025), 'form-data; name="highest"')])[0] == "bad_request"


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 999}"]
)
def test_form_without_a_usable_boundary_is_rejected(content_type: str) -> None:
    with pytest.raises(ServiceError, match="boundary"):
        SeriesFiles(content_type, [], SETTINGS)


def test_file_names_are_in_no_error() -> None:
    name = "Mustermann-Erika.dcm"
    for data in (zip_of({name: bytes(5001)}), zip_of({name: zip_of({})}), streamed_zip_of({name: b"1"}, zipfile.ZIP_STORED)):
        assert "Mustermann" not in rejection([part(data)])[1]
