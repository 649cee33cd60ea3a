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
}
OF_THE_IMAGE = ("unlike_training", "uncertain")  # the others hold for every image
