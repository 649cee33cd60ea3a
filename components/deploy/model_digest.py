"""The digests of verified versions in an InferenceService: annotations, which the pods read as MODEL_DIGEST.

Annotations, because the list of containers is one field: a variable in it would take the whole list from its owner. KServe
copies them to the pods, and overlays a canary's on the predictor's.
"""

from typing import Any

from components.deploy.rollout import Rollout, model_uri

PREVIOUS_ANNOTATION = "brain-tumor/previous-model"
PREVIOUS_DIGEST = "brain-tumor/previous-digest"
DIGEST = "brain-tumor/model-digest"
UNVERIFIED = "unverified"  # not empty: KServe's overlay would keep the predictor's digest for the canary


def read_digests(document: dict[str, Any]) -> dict[str, str]:
    """Return the digest of each version of an InferenceService that has one, by the version's URI."""
    annotations = document["metadata"].get("annotations", {})
    found = {annotations.get(PREVIOUS_ANNOTATION, "").rstrip("/"): annotations.get(PREVIOUS_DIGEST, UNVERIFIED)}
    for uri, predictor in reversed(_predictors(document)):
        found[uri] = predictor.get("annotations", {}).get(DIGEST, UNVERIFIED)
    return {uri: digest for uri, digest in found.items() if uri and digest != UNVERIFIED}


def add_digests(fields: dict[str, Any], rollout: Rollout, document: dict[str, Any]) -> dict[str, Any]:
    """Add the annotations to the fields of an InferenceService that serves a rollout, and return these.

    A service without any digest gets none.

    Pods restart if their annotations change: a version that has no annotation gets none before it has a digest.
    """
    digests = {uri: digest for uri, digest in rollout.digests.items() if digest}
    if not digests and not read_digests(document):
        return fields
    ((uri, stable), *canaries), annotations = _predictors(fields), fields["metadata"].get("annotations", {})
    had = document["spec"]["predictor"].get("annotations", {})
    digest = digests.get(uri)
    if digest or DIGEST in had:
        stable.setdefault("annotations", {})[DIGEST] = digest or UNVERIFIED
    for uri, canary in canaries:
        canary.setdefault("annotations", {})[DIGEST] = digests.get(uri, UNVERIFIED)
    previous = digests.get(annotations.get(PREVIOUS_ANNOTATION, ""))
    if previous or PREVIOUS_DIGEST in document["metadata"].get("annotations", {}):
        annotations[PREVIOUS_DIGEST] = previous or UNVERIFIED
    return fields


def _predictors(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the predictor, and in Standard mode the canary's, each with the URI of its version."""
    spec = document["spec"]
    canaries = [each["predictor"] for each in spec.get("canary") or []]
    return [(uri, each) for each in (spec["predictor"], *canaries) if (uri := model_uri(each))]
