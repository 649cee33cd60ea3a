"""What can go wrong with one request, each as a sentence for the reader that says what to do."""

SLICE = "a JPEG, PNG, GIF, BMP, TIFF, WebP, PPM or JPEG 2000 file"
TELL = "tell whoever runs this page"

# The codes of the service, then the ones that only a client meets.
PROBLEMS = {
    "not_an_image": f"This file is not an image. Choose {SLICE}.",
    "corrupt": "This image is damaged or breaks off. Export the slice again, or choose another.",
    "unsupported_type": "This kind of file is not read; DICOM is not either. Export the slice as PNG, windowed as you read it.",
    "too_large": "This image is too large. Export the slice with at most 16 megapixels and 10 MB.",
    "bad_request": f"The service did not understand this page. They may be of different versions: {TELL}.",
    "wrong_shape": f"Service and page do not understand each other. They may be of different versions: {TELL}.",
    "not_found": f"There is no such service at the address that this page asks: {TELL}.",
    "method_not_allowed": f"There is another service at the address that this page asks: {TELL}.",
    "slow_body": "The image took too long to reach the service. Try again, or export the slice smaller.",
    "too_busy": "The service has too much to do just now. Try again in a few seconds.",
    "internal": f"The service failed on this image. Try again; if it fails once more, {TELL}.",
    "predictor_failed": f"The model behind the service failed. Try again; if it fails once more, {TELL}.",
    "not_ready": "The model is away or still loads. Wait a moment, then try again.",
    "too_slow": "The model took too long. Try again in a moment.",
    "unauthorised": f"The service does not accept this page's token, API_TOKEN: {TELL}.",
    "unreachable": f"The service cannot be reached. Try again in a moment; if it stays away, {TELL}.",
    "no_answer": f"The service did not answer in time. Try again in a moment; if it stays silent, {TELL}.",
}
IMAGE_ERRORS = {"not_an_image", "corrupt", "unsupported_type", "too_large"}
BY_STATUS = {
    401: "unauthorised",
    403: "unauthorised",
    404: "not_found",
    405: "method_not_allowed",
    408: "slow_body",
    413: "too_large",
    415: "unsupported_type",
    429: "too_busy",
    502: "predictor_failed",
    503: "not_ready",
    504: "too_slow",
}


class RequestError(Exception):
    """A request without an answer. `code` is a key of `PROBLEMS`, `str()` the sentence."""

    def __init__(self, code: str):
        super().__init__(PROBLEMS[code])
        self.code = code

    @property
    def is_retryable(self) -> bool:
        """Whether the same image may be answered at another time."""
        return self.code not in IMAGE_ERRORS


def error_from_response(status: int, body: object) -> RequestError:
    """Return the problem that a response of the service, or of a proxy before it, stands for.

    Args:
        status: of HTTP.
        body: parsed JSON, or None where the response is none.
    """
    code = body.get("code") if isinstance(body, dict) else None
    if isinstance(code, str) and code in PROBLEMS:
        return RequestError(code)
    return RequestError(BY_STATUS.get(status, "bad_request" if 400 <= status < 500 else "internal"))
