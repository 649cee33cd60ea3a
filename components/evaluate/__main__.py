"""Evaluate a model by hand that a failed run kept: `python -m components.evaluate`."""

import argparse
import sys
from pathlib import Path

from brain_tumor.model_card import NOTICE
from components.errors import exit_on_error
from components.evaluate.evaluate import evaluate


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    top = argparse.ArgumentParser(
        prog="python -m components.evaluate",
        description="Evaluate a model on the held-out test set and decide whether it passes the gate.",
        epilog=NOTICE,
    )
    top.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="the model")
    top.add_argument("--images", type=Path, required=True, metavar="FILE", help="images.zip of its run")
    top.add_argument("--splits", type=Path, required=True, metavar="FILE", help="splits.csv of its run")
    top.add_argument("--report", type=Path, required=True, metavar="FILE", help="report to write, HTML")
    top.add_argument("--evaluation", type=Path, required=True, metavar="FILE", help="metrics.json to write")
    top.add_argument("--tracking-uri", default="", metavar="URI", help="registry of the champion; default: MLFLOW_TRACKING_URI")
    top.add_argument("--min-auc", type=float, default=0.70, metavar="X", help="as for the pipeline; default: %(default)s")
    top.add_argument("--min-recall", type=float, default=0.70, metavar="X", help="as for the pipeline; default: %(default)s")
    top.add_argument("--min-class-images", type=int, default=10, metavar="N", help="as for the pipeline; default: %(default)s")
    top.add_argument("--allow-unreadable-champion", action="store_true", help="as for the pipeline")
    top.add_argument("--seed", type=int, default=0, help="seed of the bootstrap; default: %(default)s")
    return top


def main() -> int:
    """Evaluate, and print the decision. The exit status is 2 if the model does not pass the gate."""
    options = vars(parser().parse_args())
    names = {"model": "model_dir", "images": "images_zip", "splits": "splits_csv"}
    paths = {"report": "report_html", "evaluation": "evaluation_json"}
    with exit_on_error("evaluate", options["report"]):
        arguments = {(names | paths).get(name, name): value for name, value in options.items()}
        reasons = evaluate(**arguments)["verdict"]["reasons"]
    for reason in reasons or ["the model passes the gate"]:
        print(f"evaluate: {reason}", flush=True)
    return 2 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
