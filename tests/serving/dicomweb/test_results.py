"""Results as DICOM objects, read by dciodvfy, dsrdump, highdicom and pydicom."""

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import data_store
import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.spatial import PixelToReferenceTransformer
from PIL import Image
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword
from pydicom.uid import Comprehensive3DSRStorage, ParametricMapStorage, SecondaryCaptureImageStorage

from brain_tumor.dicom import DicomImage
from brain_tumor.dicom_decoder import answer as decode
from brain_tumor.model_card import NOTICE
from serving.dicomweb.results import build_results
from serving.dicomweb.secondary_capture import burn_in
from serving.dicomweb.uids import result_uids
from tests.brain_tumor.dicoms import PHI, dicom
from tests.serving.dicomweb.answers import OBLIQUE, PROBABILITIES, SIZE, header, series_answer, source_images
from tests.tools import tool

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
MORE_FILES = Path(data_store.__file__).parent / "data"
CLASSES = [{"glioma": 0.91, "meningioma": 0.05, "no_tumor": 0.01, "pituitary": 0.03}]


def written(dataset: Dataset) -> Dataset:
    """Return a dataset as it is read from the file that the PACS stores."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset)
    buffer.seek(0)
    return dcmread(buffer)


def errors(dataset: Dataset, folder: Path) -> list[str]:
    """Return the errors that dciodvfy finds."""
    path = folder / "result.dcm"
    dcmwrite(path, dataset)
    run = subprocess.run([tool("dciodvfy"), path], capture_output=True, text=True)
    return [line for line in (run.stdout + run.stderr).splitlines() if "Error" in line]


def dump(report: Dataset, folder: Path) -> str:
    """Return what dsrdump prints of a report."""
    path = folder / "report.dcm"
    dcmwrite(path, report)
    return subprocess.run([tool("dsrdump"), "+Pl", path], capture_output=True, text=True, check=True).stdout


def measurement_groups(report: Dataset) -> list[Any]:
    """Return the groups of a report that highdicom finds by TID 1500."""
    content: Any = highdicom.sr.Comprehensive3DSR.from_dataset(written(report)).content
    return content.get_image_measurement_groups()


def of_class(results: list[Dataset], sop_class: str) -> list[Dataset]:
    return [result for result in results if result.SOPClassUID == sop_class]


def all_uids(dataset: Dataset) -> list[str]:
    """Return every UID of a dataset and of its sequences."""
    return [str(element.value) for element in dataset.iterall() if element.VR == "UI"]


@pytest.fixture(scope="module")
def sources() -> list[Dataset]:
    return source_images(**PHI)


@pytest.fixture(scope="module")
def results(sources: list[Dataset]) -> list[Dataset]:
    return build_results(sources, series_answer())


def test_dciodvfy_finds_no_error(results: list[Dataset], tmp_path: Path) -> None:
    kinds = [Comprehensive3DSRStorage, ParametricMapStorage, *[SecondaryCaptureImageStorage] * 3]
    assert [result.SOPClassUID for result in results] == kinds
    assert [errors(result, tmp_path) for result in results] == [[]] * 5


def test_dsrdump_shows_the_values_of_the_answer(results: list[Dataset], tmp_path: Path) -> None:
    text = dump(results[0], tmp_path)
    shown = [float(value) for value in re.findall(r'"Probability"\)="([^"]*)"', text)]
    assert shown == pytest.approx([max(PROBABILITIES), *PROBABILITIES], abs=1e-13)  # 16 characters
    for name, value in {"Slices of the series": 12, "Slices whose predicted class": 6, "Longest run of neighbouring": 5}.items():
        assert re.search(rf'"{name}[^"]*"\)="{value}"', text)
    for expected in (NOTICE, "synthetic phantoms", "Probability of a tumour by an algorithm; not a diagnosis", "threshold=0.5"):
        assert expected in text
    assert "Completion Flag     : PARTIAL" in text
    assert "Verification Flag   : UNVERIFIED" in text


def test_highdicom_reads_the_report(sources: list[Dataset], results: list[Dataset]) -> None:
    summary, *slices = measurement_groups(results[0])
    assert len(slices) == 12
    for source, group, probability in zip(sources, slices, PROBABILITIES, strict=True):
        (image,) = group.source_images
        assert image.referenced_sop_instance_uid == source.SOPInstanceUID
        assert group.get_measurements()[0].value == probability
        assert [item.value for item in group[0].ContentSequence if item.name.value == "111003"] == ["7"]
    flags = {each.name.meaning: each.value.meaning for each in slices[3].get_qualitative_evaluations()}
    assert flags["Uncertain at the model's error rate"] == "Yes"
    assert flags["Unlike the training images"] == "No"
    assert flags["Predicted class"] == "no tumor"
    peak = summary.get_measurements()[3]
    assert [peak.value, peak.derivation.meaning] == [max(PROBABILITIES), "Maximum"]
    assert [image.referenced_sop_instance_uid for image in peak.referenced_images] == [sources[6].SOPInstanceUID]


def test_three_classes_have_a_probability_each(tmp_path: Path) -> None:
    results = build_results(source_images(1), series_answer(CLASSES, highest=1))
    text = dump(results[0], tmp_path)
    shown = re.findall(r'"Probability"\)="([^"]*)".*\n.*"Class"\)=\((\w+),', text)
    assert shown == [("0.99", "tumor"), ("0.91", "glioma"), ("0.05", "meningioma"), ("0.01", "no_tumor"), ("0.03", "pituitary")]
    assert [errors(result, tmp_path) for result in results] == [[]] * 3


@pytest.mark.parametrize("spacing", [(0.9, 0.9), (2.0, 0.75)])
@pytest.mark.parametrize("orientation", [np.eye(3), OBLIQUE])
@pytest.mark.parametrize(("shape", "cell"), [(SIZE, (11, 50)), ((6, 5), (1, 4)), ((7, 9), (6, 0))])
def test_a_peak_lies_where_the_source_pixel_does(
    spacing: tuple[float, float], orientation: np.ndarray, shape: tuple[int, int], cell: tuple[int, int]
) -> None:
    heatmap = np.zeros(shape, np.float32)
    heatmap[cell] = 1
    (source,) = source_images(1, PixelSpacing=list(spacing), ImageOrientationPatient=orientation[:2].ravel().tolist())
    results = build_results([source], series_answer([0.9], highest=1, heatmap=heatmap))
    parametric_map = highdicom.pm.ParametricMap.from_dataset(written(of_class(results, ParametricMapStorage)[0]))
    frame = parametric_map.pixel_array
    np.testing.assert_array_equal(frame, heatmap)
    row, column = np.unravel_index(frame.argmax(), frame.shape)
    peak = PixelToReferenceTransformer.for_image(parametric_map, frame_number=1)(np.array([[column, row]]))
    pixel = [(cell[axis] + 0.5) * SIZE[axis] / shape[axis] - 0.5 for axis in (1, 0)]  # the source pixel at the cell's centre
    expected = PixelToReferenceTransformer.for_image(source)(np.round([pixel]).astype(int))
    assert np.abs((peak - expected) @ orientation.T)[0, 0] <= spacing[1] / 2 + 1e-6
    assert np.abs((peak - expected) @ orientation.T)[0, 1] <= spacing[0] / 2 + 1e-6
    assert np.abs((peak - expected) @ orientation.T)[0, 2] < 1e-4


def test_a_heatmap_of_the_displayed_image_lies_over_the_source(tmp_path: Path) -> None:
    levels = np.zeros(SIZE, np.uint16)
    levels[8:16, 48:60] = 1000
    spacing: dict[str, Any] = {"PixelSpacing": [2.0, 0.75], "ImageOrientationPatient": OBLIQUE[:2].ravel().tolist()}
    data = dicom(levels, ImagePositionPatient=[-30.5, 12, 7], FrameOfReferenceUID="1.2.3", **spacing)
    displayed = decode((data, 10**6, None, None))
    assert isinstance(displayed, DicomImage)
    assert displayed.pixels.shape == (128, 60)
    heatmap = np.asarray(Image.fromarray(displayed.pixels).resize((5, 6), Image.Resampling.BOX), np.float32) / 255
    results = build_results([header(data)], series_answer([0.9], highest=1, heatmap=heatmap))
    parametric_map = highdicom.pm.ParametricMap.from_dataset(written(of_class(results, ParametricMapStorage)[0]))
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    peak = PixelToReferenceTransformer.for_image(parametric_map, frame_number=1)(np.array([[column, row]]))
    corners = PixelToReferenceTransformer.for_image(header(data))(np.array([[48, 8], [59, 15]]))
    np.testing.assert_allclose(peak[0], corners.mean(axis=0), atol=1e-4)


def test_map_holds_the_heatmaps_in_the_order_of_the_slices(sources: list[Dataset], results: list[Dataset]) -> None:
    image = highdicom.pm.ParametricMap.from_dataset(written(results[1]))
    geometry = image.get_volume_geometry()
    assert geometry is not None
    np.testing.assert_allclose(geometry.spacing, [3, 0.9 * 48 / 6, 1.1 * 60 / 5])
    assert [image.NumberOfFrames, image.Rows, image.Columns, image.ContentQualification] == [3, 6, 5, "RESEARCH"]
    assert image.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    for source, groups in zip(sources[5:8], image.PerFrameFunctionalGroupsSequence, strict=True):
        (reference,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    mapping = image.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeMeaning == "Class activation"


def test_captures_have_their_text_below_the_overlay(sources: list[Dataset], results: list[Dataset]) -> None:
    captures = [written(result) for result in of_class(results, SecondaryCaptureImageStorage)]
    assert [capture.SourceImageSequence[0].ReferencedSOPInstanceUID for capture in captures] == [
        sources[index].SOPInstanceUID for index in (6, 7, 5)
    ]
    for capture in captures:
        assert capture.BurnedInAnnotation == "YES"
        assert capture.Columns >= 512
        assert (capture.pixel_array[-capture.Rows // 8 :] == 255).any()


@pytest.mark.parametrize(
    ("size", "factor", "left"), [((1024, 600), 1, 0), ((600, 1024), 1, 0), ((200, 700), 1, 156), ((128, 90), 4, 0)]
)
def test_burned_in_text_covers_nothing_of_the_overlay(size: tuple[int, int], factor: int, left: int) -> None:
    overlay = Image.new("RGB", size, (10, 20, 30))
    pixels = burn_in(overlay, ["Not for diagnosis.", "a line that is much longer than the others and has to fit into the width"])
    width, height = size[0] * factor, size[1] * factor
    assert (pixels[:height, left : left + width] == (10, 20, 30)).all()
    assert not pixels[:height, :left].any()
    band = pixels[height:].max(axis=2)
    assert band.max() == 255
    assert not band[[0, -1]].any()
    assert not band[:, [0, -1]].any()


def test_patient_and_study_are_those_of_the_sources(sources: list[Dataset], results: list[Dataset]) -> None:
    for result in results:
        for keyword in (
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
        ):
            assert result[keyword].value == sources[0][keyword].value
        assert str(result.PatientName) == PHI["PatientName"]
        assert "7" in result.SoftwareVersions
        assert result.SeriesNumber > 9000


def test_uids_are_those_of_series_model_version_and_kind(sources: list[Dataset], results: list[Dataset]) -> None:
    again = build_results(sources, series_answer())
    for first, second in zip(results, again, strict=True):
        assert all_uids(first) == all_uids(second)
    uids = result_uids(sources[0].SeriesInstanceUID, "brain-tumor", "7")
    assert [each.SOPInstanceUID for each in results] == [uids.report, uids.map, *uids.captures[:3]]
    assert [each.SeriesInstanceUID for each in results] == [uids.report_series, uids.map_series, *[uids.capture_series] * 3]
    newer_answer = series_answer([0.9])
    newer_answer["model"]["version"] = "8"
    newer = build_results(sources[:1], newer_answer)
    assert not {each.SOPInstanceUID for each in newer} & {each.SOPInstanceUID for each in results}
    assert not {each.SeriesInstanceUID for each in newer} & {each.SeriesInstanceUID for each in results}
    for uid in (uids.report_series, *uids.captures):
        assert re.fullmatch(r"2\.25\.(0|[1-9]\d{0,38})", uid)


def test_frames_of_one_file_are_referred_to_by_number(tmp_path: Path) -> None:
    levels = np.zeros((3, *SIZE), np.uint16)
    source = header(dicom(levels, FrameOfReferenceUID="1.2.3"))
    groups = [Dataset() for _ in levels]
    for number, group in enumerate(groups):
        group.PlanePositionSequence, group.PixelMeasuresSequence = [Dataset()], [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 4 * number]
        group.PixelMeasuresSequence[0].PixelSpacing = [1, 2]
    source.PerFrameFunctionalGroupsSequence, source.SharedFunctionalGroupsSequence = groups, [Dataset()]
    orientation = Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    source.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence = [orientation]
    results = build_results([source], series_answer([0.2, 0.9, 0.7], highest=2, frames=True))
    assert [errors(result, tmp_path) for result in results] == [[]] * 4
    groups_of_slices = measurement_groups(results[0])[1:]
    assert [group.source_images[0].referenced_frame_numbers for group in groups_of_slices] == [[1], [2], [3]]
    frames = results[1].PerFrameFunctionalGroupsSequence
    assert [frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber for frame in frames] == [2, 3]
    assert [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames] == [4, 8]


@pytest.mark.parametrize("path", [FILES / "MR_small.dcm", MORE_FILES / "emri_small.dcm"])
def test_results_of_a_scanner_s_file(path: Path, tmp_path: Path) -> None:
    source = dcmread(path, stop_before_pixels=True)
    count = int(source.get("NumberOfFrames", 1))
    results = build_results([source], series_answer(PROBABILITIES[:count], highest=1, frames=count > 1))
    maps = [] if count > 1 else [ParametricMapStorage]  # the enhanced file has no functional groups
    assert [each.SOPClassUID for each in results] == [Comprehensive3DSRStorage, *maps, SecondaryCaptureImageStorage]
    assert [errors(result, tmp_path) for result in results] == [[]] * len(results)


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImagePositionPatient": None},
        {"FrameOfReferenceUID": None},
        {"FrameOfReferenceUID": "1.2.3", "StudyInstanceUID": "1.2.3"},
        {"PixelSpacing": None},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    ],
)
def test_no_map_without_a_place_in_the_patient(attributes: dict[str, Any], tmp_path: Path) -> None:
    results = build_results(source_images(2, **attributes), series_answer([0.9, 0.1], highest=1))
    assert [result.SOPClassUID for result in results] == [Comprehensive3DSRStorage, SecondaryCaptureImageStorage]
    assert [errors(result, tmp_path) for result in results] == [[], []]


def test_no_highest_slices_leave_the_report_alone() -> None:
    assert [result.SOPClassUID for result in build_results(source_images(1), series_answer([0.9], highest=0))] == [
        Comprehensive3DSRStorage
    ]


def test_invalid_and_missing_attributes_are_left_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (source,) = source_images(1, PatientID=None, StudyTime=None, AccessionNumber=None, StudyDate=None)
    invalid = {
        ("StudyID", "SH"): "S" * 40,
        ("PatientBirthDate", "DA"): "1957.03.09",
        ("StudyTime", "TM"): "half past ten",
        ("PatientSex", "CS"): "female",
        ("PatientAge", "AS"): "67",
        ("ReferringPhysicianName", "PN"): "N" * 200,
        ("StudyDescription", "LO"): "one\ntwo",
        ("AccessionNumber", "LO"): "A\\B",
    }
    for (keyword, representation), value in invalid.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        source[tag] = DataElement(tag, representation, value, validation_mode=IGNORE)
    source.PatientName = "山田^太郎"
    results = build_results([source], series_answer([0.9], highest=1))
    assert [errors(result, tmp_path) for result in results] == [[]] * 3
    for result in map(written, results):
        for keyword in ("StudyID", "PatientBirthDate", "StudyTime", "PatientSex", "PatientID", "AccessionNumber"):
            assert not result[keyword].value
        assert result.PatientName == "山田^太郎"
    assert not caplog.records


def test_a_patient_id_that_dicom_does_not_allow_is_an_error() -> None:
    (source,) = source_images(1)
    source.add(DataElement("PatientID", "LO", "P" * 65, validation_mode=IGNORE))
    with pytest.raises(ValueError, match=r"^a source image has a PatientID that DICOM does not allow$"):
        build_results([source], series_answer([0.9]))


def test_a_source_of_an_unknown_class_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^a source image has a SOPClassUID that is none of MR images$"):
        build_results(source_images(1, SOPClassUID="1.2.3.4"), series_answer([0.9]))


@pytest.mark.parametrize(
    ("missing", "last", "message"),
    [
        ("", 5, r"slices\[1\]: got file 5, expected one of the 2 instances sent"),
        ("SOPInstanceUID", 1, "a source image has no SOPInstanceUID"),
        ("SeriesInstanceUID", 1, "a source image has no SeriesInstanceUID"),
    ],
)
def test_an_answer_about_other_instances_is_rejected(missing: str, last: int, message: str) -> None:
    sources, analysed = source_images(2), series_answer([0.9, 0.1])
    analysed["slices"][1]["file"] = last
    sources[1].pop(missing, None)
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_results(sources, analysed)


def test_instances_of_two_series_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"^got 2 series and 2 slices, expected one series and its slices$"):
        build_results([*source_images(1), *source_images(1)], series_answer([0.9, 0.1]))
