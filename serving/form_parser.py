"""Forms as clients of the past and of other systems write them (RFC 2046 and 7578)."""

import binascii
import re
from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.base64_text import decode_base64
from serving.errors import ServiceError
from serving.settings import MAX_BODY_BYTES

FILE = b"file"


class LenientMultiPartParser(MultiPartParser):
    """Starlette's parser, which also reads text before the first part, and a file with no name or `filename*` alone."""

    spool_max_size = MAX_BODY_BYTES  # above this size it would write a file to disk; image files stay in memory

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None]):
        boundary = parse_options_header(headers["content-type"])[1].get(b"boundary", b"")
        super().__init__(headers, _without_preamble(stream, boundary))

    def on_headers_finished(self) -> None:
        options = parse_options_header(self._current_part.content_disposition)[1]
        if options.get(b"name") == FILE and b"filename" not in options:
            self._current_part.content_disposition = b"form-data; name=%s; filename=%s" % (FILE, FILE)
        super().on_headers_finished()


async def read_form(request: Request) -> FormData:
    """Return the fields and files of a form.

    Raises:
        ServiceError: `bad_request`.
    """
    try:
        return await LenientMultiPartParser(request.headers, request.stream()).parse()
    except MultiPartException as error:
        raise ServiceError("bad_request", error.message) from None


async def read_file(file: UploadFile) -> bytes:
    """Return the bytes of a form's file, and close it. A Content-Transfer-Encoding is undone.

    Raises:
        ServiceError: `bad_request` if the file is not the base64 that its header declares.
    """
    data = await file.read()
    await file.close()  # it is a second copy in memory
    return undo_transfer_encoding(data, file.headers.get("content-transfer-encoding", ""), "file")


def undo_transfer_encoding(data: bytes, encoding: str, item: str) -> bytes:
    """Decode a file by its Content-Transfer-Encoding; one that is no text passes.

    Args:
        data: The file as received.
        encoding: The header.
        item: Position of the file in the request, for the error message.

    Raises:
        ServiceError: `bad_request` if the file is not the base64 that its header declares.
    """
    encoding = encoding.strip().lower()
    if encoding == "base64":
        return decode_base64(data.decode("latin-1"), item)
    return binascii.a2b_qp(data) if encoding == "quoted-printable" else data


async def _without_preamble(stream: AsyncGenerator[bytes, None], boundary: bytes) -> AsyncGenerator[bytes, None]:
    body = b"".join([chunk async for chunk in stream])
    if body.startswith(b"--%s\r\n" % boundary):  # before the search: its pattern is compiled anew for each boundary
        yield body
        return
    start = re.search(rb"^--" + re.escape(boundary) + rb"\r?$", body, re.MULTILINE)
    yield body[start.start() :] if start else body
