"""The failures of a step of the gateway."""

# What a rejection by the service may state; any other of its codes counts as `rejected`.
SERVICE_CODES = (
    *("bad_request", "not_an_image", "corrupt", "several_images", "invisible", "too_large", "unsupported_type", "wrong_shape"),
    *("several_series", "too_many_slices"),
)
STEPS = ("query", "fetch", "predict", "store")
CODES = (
    *("unreachable", "timeout", "unauthorized", "busy", "unavailable", "invalid_answer", "not_found", "rejected"),
    *("unreadable", "changed", "internal", *SERVICE_CODES),
)


class StepError(Exception):
    """A step that failed. The message, for the dead letter, has no patient data.

    Attributes:
        code: One of `CODES`.
        is_permanent: Whether the reason lies in the series, so that another attempt will hardly succeed. Otherwise the PACS or
            the service is away, and the series waits for it.
        is_suspect: Whether the reason may lie in the series: the service failed at it, and was ready just before.
        step: One of `STEPS`.
    """

    def __init__(self, step: str, code: str, message: str, *, is_permanent: bool = False):
        super().__init__(message)
        self.step, self.code, self.is_permanent, self.is_suspect = step, code, is_permanent, False


class NotSelectedError(Exception):
    """A series that is not to be analysed. The message is the code that the state keeps."""
