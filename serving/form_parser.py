"""Forms as clients of the past and of other systems write them (RFC 2046 and 7578)."""

import binascii
import re
from collections.abc import AsyncGenerator
from typing import Any

import starlette.requests
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser

from serving.base64_text import decode_base64
from serving.settings import MAX_BODY_BYTES

FILE = b"file"


class LenientMultiPartParser(MultiPartParser):
    """Starlette's parser, which also reads text before the first part, and a file with no name or `filename*` alone."""

    spool_max_size = MAX_BODY_BYTES  # above this size it would write a file to disk; image files stay in memory

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], **limits: Any):
        boundary = parse_options_header(headers["content-type"])[1].get(b"boundary", b"")
        super().__init__(headers, _without_preamble(stream, boundary), **limits)

    def on_headers_finished(self) -> None:
        options = parse_options_header(self._current_part.content_disposition)[1]
        if options.get(b"name") == FILE and b"filename" not in options:
            self._current_part.content_disposition = b"form-data; name=%s; filename=%s" % (FILE, FILE)
        super().on_headers_finished()


async def read_file(file: UploadFile) -> bytes:
    """Return the bytes of a form's file, and close it. A Content-Transfer-Encoding is undone.

    Raises:
        ServiceError: `bad_request` if the file is not the base64 that its header declares.
    """
    data = await file.read()
    await file.close()  # it is a second copy in memory
    encoding = file.headers.get("content-transfer-encoding", "").strip().lower()
    if encoding == "base64":
        return decode_base64(data.decode("latin-1"), "file")
    return binascii.a2b_qp(data) if encoding == "quoted-printable" else data


async def _without_preamble(stream: AsyncGenerator[bytes, None], boundary: bytes) -> AsyncGenerator[bytes, None]:
    body = b"".join([chunk async for chunk in stream])
    start = re.search(rb"^--" + re.escape(boundary) + rb"\r?$", body, re.MULTILINE)
    yield body[start.start() :] if start else body


# FastAPI reads forms with the parser of this name.
starlette.requests.MultiPartParser = LenientMultiPartParser  # type: ignore[attr-defined]
