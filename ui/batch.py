"""The slices that a user has chosen, and the service's results for them."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from brain_tumor.errors import ImageError
from brain_tumor.images import read_image
from ui.client import Prediction, ServiceClient
from ui.errors import IMAGE_ERRORS, RequestError
from ui.metrics import UPLOADS

MAX_FILE_BYTES = 10_000_000

Result = Prediction | RequestError
Results = MutableMapping[str, Result]


@dataclass(frozen=True)
class Slice:
    """An image file.

    Attributes:
        id: Identifier of the upload, the same in every run of the page; `#` and the frame follow a chosen one.
        name: File name on the user's machine. It is shown to the user, and never logged, counted or sent.
        data: Encoded image, unchanged.
        frame: Number of the chosen image in a file with several, from 1.
        images: Number of images in the file, if one is chosen.
        error: Error code of a file that the page does not have; empty if it has `data`.
    """

    id: str
    name: str
    data: bytes
    frame: int | None = None
    images: int = 1
    error: str = ""


def distinct_names(slices: Sequence[Slice]) -> dict[str, str]:
    """Return a name for each slice by its id: the file name, numbered from the second file of one name: `scan (2).png`."""
    names: dict[str, str] = {}
    taken = {each.name for each in slices}
    for each in slices:
        name, number = each.name, 1
        while name in names.values() or (number > 1 and name in taken):
            number += 1
            name = f"{PurePath(each.name).stem} ({number}){PurePath(each.name).suffix}"
        names[each.id] = name
    return names


def explain_all(
    service: ServiceClient, slices: Sequence[Slice], results: Results, *, on_progress: Callable[[int, int], None]
) -> list[Slice]:
    """Request a prediction for every slice without a result, and store each in `results` at once.

    Args:
        service: Client of the service.
        slices: The user's slices. Results of other slices are dropped.
        results: Results by slice id.
        on_progress: Function called with the number of finished slices and the total.

    Returns:
        The slices that had no result.
    """
    for id_ in results.keys() - {each.id for each in slices}:
        del results[id_]
    missing = [each for each in slices if each.id not in results]
    for done, each in enumerate(missing):
        on_progress(done, len(missing))
        results[each.id] = explain_slice(service, each)
    return missing


def explain_slice(service: ServiceClient, chosen: Slice) -> Result:
    """Return the service's prediction for a slice, or the error. An image that the service would reject is not sent.

    The limits and `read_image` are those of the service.
    """
    result: Result
    try:
        if chosen.error:
            raise RequestError(chosen.error)
        if len(chosen.data) > MAX_FILE_BYTES:
            raise RequestError("too_large")
        read_image(chosen.data, frame=chosen.frame)
        result = service.explain(chosen.data, chosen.frame)
    except ImageError as error:
        result = RequestError(error.code, error.images)
    except RequestError as error:
        result = error
    if chosen.error != "forgotten":  # which was counted when it was uploaded
        UPLOADS.labels(_outcome(result)).inc()
    return result


def drop_retryable_errors(results: Results) -> None:
    """Drop the errors that another attempt may resolve."""
    for id_ in [id_ for id_, result in results.items() if isinstance(result, RequestError) and result.is_retryable]:
        del results[id_]


def _outcome(result: Result) -> str:
    if isinstance(result, Prediction):
        return "answered"
    return "refused" if result.code in IMAGE_ERRORS else "failed"
