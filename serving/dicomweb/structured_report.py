"""The structured report: the probability of every slice and the summary of the series, by TID 1500 of DICOM PS3.16."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurement,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset

from brain_tumor.classes import TUMOR
from serving.dicomweb import codes
from serving.dicomweb.analysed_series import AnalysedSeries, Slice
from serving.dicomweb.instances import REPORT_SERIES_NUMBER, describe_series, equipment, frame_numbers, references
from serving.dicomweb.uids import derive_uid

Image = TypeVar("Image", SourceImageForMeasurement, SourceImageForMeasurementGroup)


def build_report(series: AnalysedSeries) -> Dataset:
    """Return the Comprehensive 3D SR: a measurement group of the series, and one of each slice with its source image."""
    groups = [_series_group(series), *(_slice_group(series, each) for each in series.slices)]
    content = MeasurementReport(
        observation_context=_observer(series),
        procedure_reported=codes.MRI,
        imaging_measurements=groups,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(codes.BRITISH_ENGLISH),
    )
    content[0].ContentSequence.append(_comments([series.answer["notice"], *series.answer["warnings"]]))
    report = Comprehensive3DSR(
        evidence=series.headers,
        content=content,
        series_instance_uid=series.uids.report_series,
        series_number=REPORT_SERIES_NUMBER,
        sop_instance_uid=series.uids.report,
        instance_number=1,
        series_description=describe_series(series, "probabilities"),
        coding_schemes=[codes.own_scheme()],
    )
    for keyword, value in equipment(series).items():
        setattr(report, keyword, value)
    return report


def _observer(series: AnalysedSeries) -> ObservationContext:
    """Return the software as the observer."""
    device = DeviceObserverIdentifyingAttributes(
        uid=derive_uid("device", series.model, series.version),
        name=f"{series.model} {series.version}",
        manufacturer_name=equipment(series)["Manufacturer"],
        model_name=series.model,
        serial_number=equipment(series)["DeviceSerialNumber"],
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DEVICE, device))


def _algorithm(series: AnalysedSeries) -> AlgorithmIdentification:
    threshold = series.answer["threshold"]
    parameters = [f"explanation={series.answer['explanation']}", *([] if threshold is None else [f"threshold={threshold}"])]
    return AlgorithmIdentification(series.model, series.version, parameters)


def _series_group(series: AnalysedSeries) -> MeasurementsAndQualitativeEvaluations:
    summary = series.answer["summary"]
    peak, run, first = summary["peak"], summary["longest_run"], summary["longest_run_first"]
    in_run = () if first is None else series.slices[first : first + run]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(derive_uid(*series.key, "series group"), "series"),
        finding_type=codes.FINDING,
        algorithm_id=_algorithm(series),
        measurements=[
            _count(codes.SLICES, summary["slices"]),
            _count(codes.REACHING, summary["reaching_threshold"]),
            _count(codes.LONGEST_RUN, run, in_run),
            _probability(TUMOR, peak["probability"], codes.MAXIMUM, [series.slices[peak["slice"]]]),
        ],
    )


def _slice_group(series: AnalysedSeries, of: Slice) -> MeasurementsAndQualitativeEvaluations:
    prediction = of.prediction
    flags = {codes.UNCERTAIN: prediction["uncertain"], codes.UNLIKE_TRAINING: "unlike_training" in prediction["warning_codes"]}
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(derive_uid(*series.key, "slice group", of.number), f"slice {of.number}"),
        finding_type=codes.FINDING,
        algorithm_id=_algorithm(series),
        measurements=[
            *(_probability(label, value) for label, value in of.probabilities.items()),
            Measurement(codes.LIKENESS, float(prediction["in_distribution"]), codes.NO_UNITS),
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(codes.PREDICTED_CLASS, codes.class_code(prediction["label"])),
            *(QualitativeEvaluation(name, codes.YES if applies else codes.NO) for name, applies in flags.items()),
        ],
        source_images=_images(SourceImageForMeasurementGroup, [of]),
    )


def _count(name: CodedConcept, value: int, slices: Iterable[Slice] = ()) -> Measurement:
    """Return a number of slices."""
    measurement = Measurement(name, value, codes.SLICE_UNITS, referenced_images=_images(SourceImageForMeasurement, slices))
    measurement[0].MeasuredValueSequence[0].NumericValue = f"{value}"  # a number is written as 12.0
    return measurement


def _probability(label: str, value: float, derivation: CodedConcept | None = None, slices: Iterable[Slice] = ()) -> Measurement:
    """Return the probability of a class; the class is a modifier of the measurement's name (TID 300)."""
    measurement = Measurement(
        codes.PROBABILITY,
        float(value),
        codes.NO_UNITS,
        derivation=derivation,
        referenced_images=_images(SourceImageForMeasurement, slices),
    )
    item = measurement[0]
    of_class = CodeContentItem(codes.CLASS, codes.class_code(label), RelationshipTypeValues.HAS_CONCEPT_MOD)
    item.ContentSequence = ContentSequence([of_class, *item.get("ContentSequence", [])])
    return measurement


def _images(kind: type[Image], slices: Iterable[Slice]) -> list[Image]:
    """Return the references to the images of slices."""
    return [
        kind(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, frame_numbers(item) or None)
        for item in references(slices)
    ]


def _comments(sentences: Sequence[str]) -> ContainerContentItem:
    container = ContainerContentItem(codes.QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence(
        [TextContentItem(codes.COMMENT, sentence, RelationshipTypeValues.CONTAINS) for sentence in sentences]
    )
    return container
