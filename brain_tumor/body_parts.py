"""Tell from the name of a body part, as DICOM files state it, that it is not the head."""

import re

# Words of the defined terms of Body Part Examined (DICOM PS3.16 annex L) and of coded regions in English; left and right may
# precede a term. A term with one of the head's is not plainly another part.
HEAD = re.compile("HEAD|BRAIN|SKULL|CEREB|CRANI|CEPHAL")
OTHER = re.compile(
    "ABDOM|ANKLE|AORTA|BREAST|CALCANE|CARDIAC|CHEST|CLAVICLE|COLON|ELBOW|EXTREMITY|FEMUR|FINGER|FOOT|FOREARM|GALLBLADDER|"
    "HEART|HUMERUS|KIDNEY|KNEE|LIVER|LUNG|PANCREAS|PELVI|PROSTATE|RENAL|SACR|SCAPULA|SHOULDER|SPINE|SPLEEN|STERN|THIGH|THORA|"
    "TIBIA|UTERUS|WRIST|LUMBAR|BLADDER|^[LR]?(ARM|HAND|HIP|LEG|NECK|TOE|CALF)$|(LEFT|RIGHT|UPPER|LOWER)(ARM|HAND|HIP|LEG|TOE)"
)


def is_plainly_not_head(body_part: str) -> bool:
    """Check that a body part such as `LSPINE` or `Right knee` is plainly not the head; no name says nothing."""
    term = re.sub("[^A-Z]", "", body_part.upper())
    return bool(OTHER.search(term)) and not HEAD.search(term)
