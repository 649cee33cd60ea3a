"""The parametric map: the heatmaps as float32 frames that lie over their source images in the patient."""

from collections.abc import Sequence

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence, VOILUTTransformation
from highdicom.pm import RealWorldValueMapping
from pydicom import Dataset
from pydicom.uid import ParametricMapStorage

from serving.dicomweb import codes
from serving.dicomweb.analysed_series import AnalysedSeries, Heatmap
from serving.dicomweb.instances import MAP_SERIES_NUMBER, describe_series, new_image, references, source_image_sequence
from serving.dicomweb.source_image import Geometry
from serving.dicomweb.uids import derive_uid

IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
SHAREABLE = ("PlaneOrientationSequence", "PixelMeasuresSequence")


def build_map(series: AnalysedSeries) -> Dataset | None:
    """Return the Parametric Map of the heatmaps in the order of the slices.

    None if there is no heatmap, or if the frames cannot lie in one coordinate system: an instance does not state its position,
    orientation, pixel spacing or frame of reference, or they have several frames of reference.
    """
    heatmaps = sorted(series.highest, key=lambda heatmap: heatmap.of_slice.number)
    geometries = [heatmap.of_slice.geometry for heatmap in heatmaps if heatmap.of_slice.geometry]
    systems = {geometry.frame_of_reference for geometry in geometries}
    if len(geometries) < len(heatmaps) or len(systems) != 1:
        return None
    pixels = np.stack([heatmap.values for heatmap in heatmaps])
    image = new_image(
        series,
        ParametricMapStorage,
        series.uids.map,
        SeriesInstanceUID=series.uids.map_series,
        SeriesNumber=MAP_SERIES_NUMBER,
        SeriesDescription=describe_series(series, "heatmaps"),
        InstanceNumber=1,
        FrameOfReferenceUID=systems.pop(),
        PositionReferenceIndicator="",
        ImageType=IMAGE_TYPE,
        ContentLabel="HEATMAP",
        ContentDescription="Regions that the algorithm's output rests on. Not for diagnosis.",
        ContentCreatorName="",
        ContentQualification="RESEARCH",
        DerivationDescription=f"{series.answer['explanation']} of {series.model} {series.version}. {series.answer['notice']}",
        AcquisitionContextSequence=[],
        BurnedInAnnotation="NO",
        RecognizableVisualFeatures="NO",
        LossyImageCompression="00",
        PixelPresentation="MONOCHROME",
        PresentationLUTShape="IDENTITY",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        NumberOfFrames=pixels.shape[0],
        Rows=pixels.shape[1],
        Columns=pixels.shape[2],
        BitsAllocated=32,
        FloatPixelData=pixels.astype("<f4").tobytes(),
    )
    slices = [heatmap.of_slice for heatmap in heatmaps]
    image.SourceImageSequence = source_image_sequence(slices)
    of_series = Dataset()
    of_series.SeriesInstanceUID, of_series.ReferencedInstanceSequence = series.key[0], references(slices)
    image.ReferencedSeriesSequence = [of_series]
    _add_dimensions(image, series)
    frames = [_frame_groups(heatmap, number) for number, heatmap in enumerate(heatmaps, 1)]
    image.SharedFunctionalGroupsSequence = [_shared_groups(series, frames)]
    image.PerFrameFunctionalGroupsSequence = frames
    return image


def _add_dimensions(image: Dataset, series: AnalysedSeries) -> None:
    """Index the frames by their position."""
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = index.DimensionOrganizationUID = derive_uid(*series.key, "dimensions")
    index.DimensionIndexPointer = 0x00200032  # Image Position (Patient)
    index.FunctionalGroupPointer = 0x00209113  # Plane Position Sequence
    index.DimensionDescriptionLabel = "Image Position"
    image.DimensionOrganizationSequence, image.DimensionIndexSequence = [organization], [index]


def _frame_groups(heatmap: Heatmap, number: int) -> Dataset:
    """Return the functional groups of one frame, its number counted from 1."""
    geometry = heatmap.of_slice.geometry
    assert geometry is not None
    position, spacing = cells(geometry, heatmap.values.shape)
    groups, content, derivation = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [number]
    content.FrameLabel = f"slice {heatmap.of_slice.number}, {heatmap.label}"[:64]
    derivation.DerivationCodeSequence = [codes.UNSPECIFIED_CALCULATION]
    derivation.SourceImageSequence = source_image_sequence([heatmap.of_slice])
    derivation.SourceImageSequence[0].SpatialLocationsPreserved = "NO"  # its pixels are coarser than those of the source
    groups.FrameContentSequence, groups.DerivationImageSequence = [content], [derivation]
    groups.PlanePositionSequence = PlanePositionSequence("PATIENT", position.tolist())
    groups.PlaneOrientationSequence = PlaneOrientationSequence("PATIENT", (*geometry.right, *geometry.down))
    groups.PixelMeasuresSequence = PixelMeasuresSequence(spacing, geometry.thickness)
    return groups


def cells(geometry: Geometry, shape: Sequence[int]) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the centre of a heatmap's first cell in the patient, float64 [3], and the cells' spacing (rows, columns), in mm.

    The heatmap covers the image from edge to edge. The image's position is the centre of its first pixel, half a pixel inside
    its corner (DICOM PS3.3 C.7.6.2.1.1); that of the heatmap's first cell is half a cell inside the same corner.

    Args:
        geometry: Where the image lies.
        shape: Rows and columns of the heatmap.
    """
    down_mm, right_mm = (pixel * size / count for pixel, size, count in zip(geometry.spacing, geometry.size, shape, strict=True))
    offset = (right_mm - geometry.spacing[1]) / 2 * geometry.right + (down_mm - geometry.spacing[0]) / 2 * geometry.down
    return geometry.position + offset, (down_mm, right_mm)


def _shared_groups(series: AnalysedSeries, frames: Sequence[Dataset]) -> Dataset:
    """Return the functional groups of all frames, and remove from the frames those that are equal in all."""
    shared, frame_type, rescale = Dataset(), Dataset(), Dataset()
    for keyword in SHAREABLE:
        if all(list(frame[keyword].value) == list(frames[0][keyword].value) for frame in frames):
            shared[keyword] = frames[0][keyword]
            for frame in frames:
                del frame[keyword]
    frame_type.FrameType = IMAGE_TYPE
    rescale.RescaleIntercept, rescale.RescaleSlope, rescale.RescaleType = 0, 1, "US"
    shared.ParametricMapFrameTypeSequence, shared.PixelValueTransformationSequence = [frame_type], [rescale]
    shared.FrameVOILUTSequence = [VOILUTTransformation(0.5, 1.0, voi_lut_function="LINEAR_EXACT")]
    mapping = RealWorldValueMapping(
        lut_label="HEATMAP",
        lut_explanation="Contribution to the algorithm's output, 0 to 1",
        unit=codes.NO_UNITS,
        value_range=(0.0, 1.0),
        quantity_definition=codes.EXPLANATIONS.get(series.answer["explanation"], codes.SALIENCY),
    )
    shared.RealWorldValueMappingSequence = [mapping]
    return shared
