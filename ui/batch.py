"""The slices that a reader chose, and what the service says of them."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

from brain_tumor.images import ImageError, read_image
from ui.client import Prediction, ServiceClient
from ui.errors import RequestError
from ui.metrics import UPLOADS

MAX_FILE_BYTES = 10_000_000

Result = Prediction | RequestError
Results = MutableMapping[str, Result]


@dataclass(frozen=True)
class Slice:
    """An image file.

    Attributes:
        id: the same for the same upload in every run of the page.
        name: what the reader's machine calls it: shown to the reader, never logged, counted or sent.
        data: encoded, as it came.
    """

    id: str
    name: str
    data: bytes


def explain_all(
    service: ServiceClient, slices: Sequence[Slice], results: Results, *, on_progress: Callable[[int, int], None]
) -> list[Slice]:
    """Ask for every slice that has no result yet, and keep each in `results` as it comes.

    Args:
        service: where.
        slices: the reader's; results of others are dropped.
        results: by the slices' ids.
        on_progress: called with how many are done and how many there are to do.

    Returns:
        Those that were asked for.
    """
    for id_ in results.keys() - {each.id for each in slices}:
        del results[id_]
    missing = [each for each in slices if each.id not in results]
    for done, each in enumerate(missing):
        on_progress(done, len(missing))
        results[each.id] = explain_slice(service, each.data)
    return missing


def explain_slice(service: ServiceClient, data: bytes) -> Result:
    """Ask for one image. What the service would refuse is not sent: the limits and the rule for images are its own."""
    try:
        if len(data) > MAX_FILE_BYTES:
            raise RequestError("too_large")
        read_image(data)
        answer = service.explain(data)
    except ImageError as error:
        result: Result = RequestError(error.code)
    except RequestError as problem:
        result = problem
    else:
        result = answer
    UPLOADS.labels(_outcome(result)).inc()
    return result


def drop_retryable_errors(results: Results) -> None:
    """Drop the results that another attempt may change."""
    for id_ in [id_ for id_, result in results.items() if isinstance(result, RequestError) and result.is_retryable]:
        del results[id_]


def _outcome(result: Result) -> str:
    if isinstance(result, Prediction):
        return "answered"
    return "failed" if result.is_retryable else "refused"
