"""The steps `gate` and `refuse`, declared to Kubeflow Pipelines: they read the promotion decision that evaluate made."""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def gate(evaluation: dsl.Input[dsl.Artifact]) -> bool:
    """Return whether the model is promoted.

    Args:
        evaluation: The result of evaluate.
    """
    import json
    from pathlib import Path

    return bool(json.loads(Path(evaluation.path).read_text())["verdict"]["passed"])


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def refuse(evaluation: dsl.Input[dsl.Artifact], refusal: dsl.Output[dsl.Markdown]) -> None:
    """Report why the model is not promoted. The run itself succeeds, with the status `refused`.

    Args:
        evaluation: The result of evaluate.
        refusal: The reasons.
    """
    import json
    from pathlib import Path

    from components.errors import exit_on_error

    reasons = json.loads(Path(evaluation.path).read_text())["verdict"]["reasons"]
    text = "\n".join(["The model is not promoted:", "", *(f"- {reason}" for reason in reasons)])
    with exit_on_error("refuse", refusal.path):
        Path(refusal.path).write_text(text + "\n")
    for reason in reasons:
        print(f"refuse: {reason}", flush=True)
