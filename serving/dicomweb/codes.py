"""Coded concepts of the results: those of DICOM PS3.16 where it has one, else the project's own.

The classes are codes of the project and not SNOMED's disorders, so that no system takes them for a diagnosis.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

SCHEME = "99BRAINTUMOR"  # designators of private schemes begin with 99 (DICOM PS3.3 8.2)


def own_code(value: str, meaning: str) -> CodedConcept:
    """Return a concept of the project."""
    return CodedConcept(value, SCHEME, meaning)


def own_scheme() -> CodingSchemeIdentificationItem:
    """Return the description of the project's coding scheme."""
    return CodingSchemeIdentificationItem(SCHEME, name="Concepts of the brain-tumour detection on MRI slices")


def class_code(label: str) -> CodedConcept:
    """Return a class of the model."""
    return own_code(label, label.replace("_", " "))


DEVICE = CodedConcept("121007", "DCM", "Device")
PROBABILITY = CodedConcept("122157", "DCM", "Probability")
MAXIMUM = CodedConcept("56851009", "SCT", "Maximum")
COMMENT = CodedConcept("121106", "DCM", "Comment")
QUALITATIVE_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
YES = CodedConcept("373066001", "SCT", "Yes")
NO = CodedConcept("373067005", "SCT", "No")
NO_UNITS = CodedConcept("1", "UCUM", "no units")
SLICE_UNITS = CodedConcept("{slices}", "UCUM", "slices")
MRI = CodedConcept("25056-3", "LN", "MRI unspecified body region")
BRITISH_ENGLISH = CodedConcept("en-GB", "RFC5646", "English (United Kingdom)")
SOURCE_IMAGE = CodedConcept("121322", "DCM", "Source image for image processing operation")
UNSPECIFIED_CALCULATION = CodedConcept("112187", "DCM", "Unspecified method of calculation")
# What a heatmap shows, by the method that the answer names (CID 217, Visual Explanation).
EXPLANATIONS = {
    "grad_cam": CodedConcept("130403", "DCM", "Gradient-weighted class activation"),
    "evidence": CodedConcept("130402", "DCM", "Class activation"),
}
SALIENCY = CodedConcept("130404", "DCM", "Saliency")

FINDING = own_code("FINDING", "Probability of a tumour by an algorithm; not a diagnosis")
CLASS = own_code("CLASS", "Class")
PREDICTED_CLASS = own_code("PREDICTED_CLASS", "Predicted class")
LIKENESS = own_code("LIKENESS", "Likeness to the training images, 0 to 1")
UNCERTAIN = own_code("UNCERTAIN", "Uncertain at the model's error rate")
UNLIKE_TRAINING = own_code("UNLIKE_TRAINING", "Unlike the training images")
SLICES = own_code("SLICES", "Slices of the series")
REACHING = own_code("REACHING", "Slices whose predicted class is a tumour")
LONGEST_RUN = own_code("LONGEST_RUN", "Longest run of neighbouring slices predicted as tumour")
