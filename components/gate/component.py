"""The gate, declared to Kubeflow Pipelines: may this model be registered?"""

from kfp import dsl

from components import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def gate(evaluation: dsl.Input[dsl.Artifact]) -> bool:
    """Return whether the evaluation's verdict lets the model pass.

    Args:
        evaluation: what evaluate wrote.
    """
    import json
    from pathlib import Path

    return bool(json.loads(Path(evaluation.path).read_text())["verdict"]["passed"])


@dsl.component(base_image=COMPONENTS_IMAGE, install_kfp_package=False)
def refuse(evaluation: dsl.Input[dsl.Artifact], refusal: dsl.Output[dsl.Markdown]) -> None:
    """Say why the model is not registered. The run has succeeded; its verdict is `refused`.

    Args:
        evaluation: what evaluate wrote.
        refusal: the reasons.
    """
    import json
    from pathlib import Path

    reasons = json.loads(Path(evaluation.path).read_text())["verdict"]["reasons"]
    text = "\n".join(["The model is not registered:", "", *(f"- {reason}" for reason in reasons)])
    Path(refusal.path).write_text(text + "\n")
    for reason in reasons:
        print(f"refuse: {reason}", flush=True)
