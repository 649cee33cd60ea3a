"""The errors of one request, each with a message that tells the user what to do."""

import re

FORMATS = "a JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, PPM, JPEG 2000 or DICOM file"
CONTACT = "tell the administrator of this page"

# The error codes of the service, then those that only a client meets, those of a file that the page does not have, and those of a
# series.
MESSAGES = {
    "not_an_image": f"This file is not an image. Choose {FORMATS}.",
    "corrupt": "This image is damaged or truncated. Export the slice again, or choose another one.",
    "several_images": "This file holds several images. Choose one of them.",
    "invisible": "Nothing is seen of this image on black: it is transparent. Export the slice without transparency (alpha).",
    "unsupported_type": "This file type (such as NIfTI) is not supported. Export the slice as PNG, windowed as you read it.",
    "too_large": "This image is too large. Export the slice with at most 16 megapixels and 10 MB.",
    "bad_request": f"The service did not understand the request. Service and page may have different versions: {CONTACT}.",
    "wrong_shape": f"Service and page do not understand each other. They may have different versions: {CONTACT}.",
    "not_found": f"There is no service at the URL that this page uses: {CONTACT}.",
    "method_not_allowed": f"There is another service at the URL that this page uses: {CONTACT}.",
    "slow_body": "The upload to the service took too long. Try again, or export the slice smaller.",
    "slow_headers": "The connection to the service is too slow. Try again in a moment.",
    "too_busy": "The service is busy. Try again in a few seconds.",
    "too_many_connections": "The service is busy. Try again in a few seconds.",
    "internal": f"The service failed on this image. Try again; if it fails again, {CONTACT}.",
    "predictor_failed": f"The model behind the service failed. Try again; if it fails again, {CONTACT}.",
    "not_ready": "The model is down or still loading. Wait a moment, then try again.",
    "too_slow": "The model took too long. Try again in a moment.",
    "unauthorised": f"The service does not accept this page's token, API_TOKEN: {CONTACT}.",
    "unreachable": f"The service cannot be reached. Try again in a moment; if it stays unreachable, {CONTACT}.",
    "timeout": f"The service did not respond in time. Try again in a moment; if it fails again, {CONTACT}.",
    "upload_too_large": f"A proxy in front of this page accepts no file of this size. Export the slice smaller, or {CONTACT}.",
    "upload_too_slow": f"The upload of this file took too long. Choose it again; if it fails again, {CONTACT}.",
    "upload_forbidden": f"Your log-in has expired, or a proxy removes cookies. Reload the page; if it fails again, {CONTACT}.",
    "upload_failed": f"This file did not arrive. Choose it again; if it fails again, {CONTACT}.",
    "forgotten": "This file was lost: the connection was away for too long, or the page was restarted. Choose it again.",
    "series_too_large": "This series is too large. Choose fewer slices, or export them smaller, up to the limit of the uploader.",
    "series_busy": "The service is reading another series. Try again in a minute.",
    "series_too_slow": "The service did not finish the series in time. Try again; if it fails again, choose fewer slices.",
    "several_series": "These files are of several series. Choose those of one series, or one zip of them.",
    "too_many_slices": "This series has more than 512 slices. Choose at most 512 of them, neighbours of each other.",
    "series_rejected": "These files are not the slices of one series. Choose those of one series, or one zip of them.",
    "series_unreadable": "This zip is damaged, encrypted or unusual. Zip the files again, or choose them as they are.",
    "series_mixed": "These are several files, and one of them is a zip. Choose the files of one series, or one zip of them.",
    "model_changed": "The service has another model now than when this series was analysed. Analyse the series again.",
    "no_series": f"The service is older than this page and reads single slices only: {CONTACT}.",
}
IMAGE_ERRORS = {"not_an_image", "corrupt", "several_images", "invisible", "unsupported_type", "too_large"}
SERIES_ERRORS = {"series_too_large", "several_series", "too_many_slices", "series_rejected", "series_unreadable", "series_mixed"}
REJECTED = IMAGE_ERRORS | SERIES_ERRORS
MISSING_FILE_ERRORS = {"upload_too_large", "upload_too_slow", "upload_forbidden", "upload_failed", "forgotten"}
UPLOAD_BY_STATUS = {
    401: "upload_forbidden",
    403: "upload_forbidden",
    408: "upload_too_slow",
    413: "upload_too_large",
    504: "upload_too_slow",
}
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
# The error of a series for the code of a response that names no file of it.
OF_SERIES = {
    "too_large": "series_too_large",
    "too_busy": "series_busy",
    "too_slow": "series_too_slow",
    "timeout": "series_too_slow",
    "wrong_shape": "series_rejected",
    "corrupt": "series_unreadable",
    "unsupported_type": "series_unreadable",
    "not_found": "no_series",
    "method_not_allowed": "no_series",
}
FILE = re.compile(r"file\[(\d{1,9})\]: ")


class RequestError(Exception):
    """A request without a usable response.

    `code` is a key of `MESSAGES`, `str()` its message, `images` the number of images in the file, if it is the reason, and
    `file` the number, from 0, of the file of a series that is the reason.
    """

    def __init__(self, code: str, images: int = 1, file: int | None = None):
        super().__init__(MESSAGES[code])
        self.code = code
        self.images = images
        self.file = file

    @property
    def is_retryable(self) -> bool:
        """Whether another attempt with the same image may succeed."""
        return self.code not in IMAGE_ERRORS | MISSING_FILE_ERRORS


def error_from_response(status: int, body: object) -> RequestError:
    """Return the error for a response of the service, or of a proxy in front of it.

    Args:
        status: HTTP status code.
        body: Parsed JSON body, or None if the body is not JSON.
    """
    code, message = (body.get("code"), body.get("error")) if isinstance(body, dict) else (None, None)
    if isinstance(code, str) and code in MESSAGES:
        named = FILE.match(message) if isinstance(message, str) else None
        return RequestError(code, file=int(named[1]) if named else None)
    return RequestError(BY_STATUS.get(status, "bad_request" if 400 <= status < 500 else "internal"))


def error_of_series(error: RequestError) -> RequestError:
    """Return the error of a request for a series, with a message about the series unless one file is the reason."""
    return error if error.file is not None else RequestError(OF_SERIES.get(error.code, error.code))
