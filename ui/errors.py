"""The errors of one request, each with a message that tells the user what to do."""

FORMATS = "a JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, PPM or JPEG 2000 file"
CONTACT = "tell the administrator of this page"

# The error codes of the service, then those that only a client meets.
MESSAGES = {
    "not_an_image": f"This file is not an image. Choose {FORMATS}.",
    "corrupt": "This image is damaged or truncated. Export the slice again, or choose another one.",
    "several_images": "This file holds several images. Choose one of them.",
    "invisible": "Nothing is seen of this image on black: it is transparent. Export the slice without transparency (alpha).",
    "unsupported_type": "This file type (such as DICOM) is not supported. Export the slice as PNG, windowed as you read it.",
    "too_large": "This image is too large. Export the slice with at most 16 megapixels and 10 MB.",
    "bad_request": f"The service did not understand the request. Service and page may have different versions: {CONTACT}.",
    "wrong_shape": f"Service and page do not understand each other. They may have different versions: {CONTACT}.",
    "not_found": f"There is no service at the URL that this page uses: {CONTACT}.",
    "method_not_allowed": f"There is another service at the URL that this page uses: {CONTACT}.",
    "slow_body": "The upload to the service took too long. Try again, or export the slice smaller.",
    "too_busy": "The service is busy. Try again in a few seconds.",
    "internal": f"The service failed on this image. Try again; if it fails again, {CONTACT}.",
    "predictor_failed": f"The model behind the service failed. Try again; if it fails again, {CONTACT}.",
    "not_ready": "The model is down or still loading. Wait a moment, then try again.",
    "too_slow": "The model took too long. Try again in a moment.",
    "unauthorised": f"The service does not accept this page's token, API_TOKEN: {CONTACT}.",
    "unreachable": f"The service cannot be reached. Try again in a moment; if it stays unreachable, {CONTACT}.",
    "timeout": f"The service did not respond in time. Try again in a moment; if it fails again, {CONTACT}.",
}
IMAGE_ERRORS = {"not_an_image", "corrupt", "several_images", "invisible", "unsupported_type", "too_large"}
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
    """A request without a usable response.

    `code` is a key of `MESSAGES`, `str()` its message, and `images` the number of images in the file, if it is the reason.
    """

    def __init__(self, code: str, images: int = 1):
        super().__init__(MESSAGES[code])
        self.code = code
        self.images = images

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt with the same image may succeed."""
        return self.code not in IMAGE_ERRORS


def error_from_response(status: int, body: object) -> RequestError:
    """Return the error for a response of the service, or of a proxy in front of it.

    Args:
        status: HTTP status code.
        body: Parsed JSON body, or None if the body is not JSON.
    """
    code = body.get("code") if isinstance(body, dict) else None
    if isinstance(code, str) and code in MESSAGES:
        return RequestError(code)
    return RequestError(BY_STATUS.get(status, "bad_request" if 400 <= status < 500 else "internal"))
