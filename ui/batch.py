"""The slices that a reader chose, and what the service says of them."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

from brain_tumor.images import PictureError, read_picture
from ui.client import Answer, Service
from ui.errors import Problem
from ui.metrics import UPLOADS

MAX_FILE_BYTES = 10_000_000

Result = Answer | Problem
Results = MutableMapping[str, Result]


@dataclass(frozen=True)
class Slice:
    """A picture file.

    Attributes:
        id: the same for the same upload in every run of the page.
        name: what the reader's machine calls it: shown to the reader, never logged, counted or sent.
        data: encoded, as it came.
    """

    id: str
    name: str
    data: bytes


def ask_all(service: Service, slices: Sequence[Slice], results: Results, *, tell: Callable[[int, int], None]) -> list[Slice]:
    """Ask for every slice that has no result yet, and keep each in `results` as it comes.

    Args:
        service: where.
        slices: the reader's; results of others are dropped.
        results: by the slices' ids.
        tell: is called with how many are done and how many there are to do.

    Returns:
        Those that were asked for.
    """
    for id_ in results.keys() - {each.id for each in slices}:
        del results[id_]
    missing = [each for each in slices if each.id not in results]
    for done, each in enumerate(missing):
        tell(done, len(missing))
        results[each.id] = ask(service, each.data)
    return missing


def ask(service: Service, data: bytes) -> Result:
    """Ask for one picture. What the service would refuse is not sent: the limits and the rule for pictures are its own."""
    try:
        if len(data) > MAX_FILE_BYTES:
            raise Problem("too_large")
        read_picture(data)
        answer = service.explain(data)
    except PictureError as error:
        result: Result = Problem(error.code)
    except Problem as problem:
        result = problem
    else:
        result = answer
    UPLOADS.labels(_outcome(result)).inc()
    return result


def forget_failed(results: Results) -> None:
    """Drop the results that another attempt may change."""
    for id_ in [id_ for id_, result in results.items() if isinstance(result, Problem) and result.may_pass]:
        del results[id_]


def _outcome(result: Result) -> str:
    if isinstance(result, Answer):
        return "answered"
    return "failed" if result.may_pass else "refused"
