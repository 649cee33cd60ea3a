"""The DICOM objects that carry the results for a series back into its study."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom import Dataset

from serving.dicomweb.analysed_series import match_answer
from serving.dicomweb.parametric_map import build_map
from serving.dicomweb.secondary_capture import build_captures
from serving.dicomweb.structured_report import build_report

# They log UIDs, and values that they take for invalid.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def build_results(sources: Sequence[Dataset], answer: Mapping[str, Any]) -> list[Dataset]:
    """Build the structured report, the parametric map of the heatmaps if the slices state where they lie, and the captures.

    Args:
        sources: The source instances, without pixels, in the order in which they were sent to `POST /series`.
        answer: The JSON of its answer.

    Raises:
        ValueError: The answer does not belong to the instances, or an instance lacks a UID. The message has no value of an
            instance.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote values
        series = match_answer(sources, answer)
        parametric_map = build_map(series)
        return [build_report(series), *([parametric_map] if parametric_map else []), *build_captures(series)]
