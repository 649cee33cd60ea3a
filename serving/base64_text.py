"""base64 in requests, in the variants that clients write."""

import binascii
import re
from urllib.parse import unquote

from serving.errors import ServiceError

DATA_URI = re.compile(r"\s*data:[^,]*;base64,", re.IGNORECASE)
WHITESPACE_AND_URL_SAFE = str.maketrans("-_", "+/", " \t\r\n")


def decode_base64(text: str, item: str) -> bytes:
    """Decode base64 of the standard or the URL-safe alphabet, with or without line breaks and padding, or as a `data:` URI.

    Args:
        text: base64 text.
        item: Position of the text in the request, for the error message, such as `instances[3]`.

    Raises:
        ServiceError: `bad_request`.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # a variant
        pass
    if uri := DATA_URI.match(text):
        text = unquote(text[uri.end() :])
    text = text.translate(WHITESPACE_AND_URL_SAFE)
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:  # binascii.Error, or a character outside ASCII
        raise ServiceError("bad_request", f"{item}: not valid base64: {error}") from None
