"""The warnings of the service: a short name of each, and what the user can do."""

from typing import NamedTuple


class Advice(NamedTuple):
    """A warning's short name, and the sentence that follows the service's own."""

    name: str
    action: str


ADVICE = {
    "synthetic_model": Advice("Synthetic model", "Use it with phantoms only."),
    "unlike_training": Advice("Unlike the training images", "Compare the image with the dataset in the model card."),
    "uncertain": Advice("Uncertain", "The model card states the error rate."),
    "not_mr": Advice("Not marked as MRI", "Choose a slice of an MRI series."),
    "not_head": Advice("Another body part", "Choose a slice of the head."),
}
OF_THE_IMAGE = ("unlike_training", "uncertain", "not_mr", "not_head")  # the others hold for every image
