"""Compile the pipeline for Kubeflow: `python -m pipelines.compile`."""

import argparse
import hashlib
import tempfile
from pathlib import Path

from kfp import compiler
from kfp.compiler.compiler_utils import KubernetesManifestOptions

from components.files import atomic_write
from pipelines.pipeline import brain_tumor

COMPILED = Path(__file__).with_name("brain_tumor.yaml")
MANIFEST = Path(__file__).parent.parent / "manifests" / "pipelines" / "brain-tumor.yaml"
PIPELINE = "brain-tumor"
EPILOG = """environment, read when the pipeline is compiled:
  COMPONENTS_IMAGE  the container image of every step
  SERVING_IMAGE     the container image of the transformer, for a service that the deploy step creates
  CHECKPOINT_PVC    a PersistentVolumeClaim to mount at /checkpoints in the train step; with checkpoint_dir=/checkpoints/NAME
                    a training that loses its node resumes from its last epoch
"""


def compile_pipeline(path: Path) -> Path:
    """Write the compiled pipeline to `path`. The same code gives the same bytes."""
    return _compile(path)


def compile_manifest(path: Path) -> Path:
    """Write a Pipeline and a PipelineVersion for `kubectl apply` and GitOps. The version is named after its content.

    A PipelineVersion is immutable, so a changed pipeline needs a new version.
    """
    with tempfile.TemporaryDirectory() as folder:
        name = version_name(compile_pipeline(Path(folder) / "pipeline.yaml"))
    options = KubernetesManifestOptions(
        pipeline_name=PIPELINE,
        pipeline_display_name=PIPELINE,
        pipeline_version_name=name,
        pipeline_version_display_name=name,
        include_pipeline_manifest=True,
    )
    return _compile(path, kubernetes_manifest_options=options, kubernetes_manifest_format=True)


def version_name(compiled: Path) -> str:
    """Return the version's name. The same pipeline has the same name on every machine and in every cluster."""
    return f"{PIPELINE}-{hashlib.sha256(compiled.read_bytes()).hexdigest()[:12]}"


def _compile(path: Path, **options: object) -> Path:
    with atomic_write(path) as partial:
        compiled = partial.with_suffix(".yaml")  # the compiler requires this suffix
        compiler.Compiler().compile(brain_tumor, str(compiled), **options)
        compiled.rename(partial)
    return path


def main() -> None:
    """Write the compiled pipeline, by default to its file in the repository."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.compile",
        description=main.__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--manifest", action="store_true", help="write Pipeline and PipelineVersion objects for kubectl instead")
    parser.add_argument("--output", type=Path, help=f"default: {_relative(COMPILED)}, or {_relative(MANIFEST)}")
    options = parser.parse_args()
    if options.manifest:
        print(compile_manifest(options.output or MANIFEST))
    else:
        print(compile_pipeline(options.output or COMPILED))


def _relative(path: Path) -> Path:
    return path.relative_to(COMPILED.parents[1])


if __name__ == "__main__":
    main()
