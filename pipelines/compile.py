"""Compile the pipeline for Kubeflow: `python -m pipelines.compile`."""

import argparse
from pathlib import Path

from kfp import compiler

from components.files import written_whole
from pipelines.pipeline import brain_tumor

COMPILED = Path(__file__).with_name("brain_tumor.yaml")


def compile_pipeline(path: Path) -> Path:
    """Write the compiled pipeline to `path`; the same code gives the same bytes."""
    with written_whole(path) as partial:
        compiled = partial.with_suffix(".yaml")  # the compiler looks at the ending
        compiler.Compiler().compile(brain_tumor, str(compiled))
        compiled.rename(partial)
    return path


def main() -> None:
    """Write the compiled pipeline, by default the one in the repository."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description=main.__doc__)
    parser.add_argument("--output", type=Path, default=COMPILED, help="default: pipelines/brain_tumor.yaml")
    print(compile_pipeline(parser.parse_args().output))


if __name__ == "__main__":
    main()
