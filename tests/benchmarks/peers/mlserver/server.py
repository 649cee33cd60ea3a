"""MLServer with a custom runtime, as its documentation advises.

- `parallel_workers` is the number of cores (https://docs.seldon.ai/mlserver/user-guide/parallel-inference and
  https://docs.seldon.ai/seldon-core-2/user-guide/performance-tuning/models/inference).
- The request is the V2 protocol's JSON, with the image as a BYTES tensor in base64, and a custom runtime decodes it
  (https://docs.seldon.ai/mlserver/user-guide/custom).
- Adaptive batching stays off, the default: it would merge the parameters of different requests.
- `debug` off, no metrics, no tracing, no gzip.
"""

import asyncio
import os

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import Base64Codec
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, ResponseOutput

from tests.benchmarks.peers.job import OWN, WORKERS, Job, http_port

NAME = "brain-tumor"


class Runtime(MLModel):
    """The SavedModel in the process of a worker."""

    async def load(self) -> bool:
        self.job = Job()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (image,) = Base64Codec.decode_input(payload.inputs[0])
        parameters = payload.parameters or Parameters()
        explain, overlay = getattr(parameters, "explain", False), getattr(parameters, "overlay", OWN)
        (row,) = self.job.run([image], explain=explain, overlay=overlay)
        outputs = [
            ResponseOutput(name="label", datatype="BYTES", shape=[1], data=[row["label"]]),
            ResponseOutput(name="probability", datatype="FP32", shape=[1], data=[row["probability"]]),
            ResponseOutput(name="in_distribution", datatype="FP32", shape=[1], data=[row["in_distribution"]]),
            ResponseOutput(name="uncertain", datatype="BOOL", shape=[1], data=[row["uncertain"]]),
        ]
        if explain:
            heatmap = row["heatmap"]
            shape = [1, len(heatmap), len(heatmap[0])]
            outputs += [
                ResponseOutput(name="heatmap", datatype="FP32", shape=shape, data=heatmap),
                ResponseOutput(name="overlay_png", datatype="BYTES", shape=[1], data=[row["overlay_png"]]),
            ]
        return InferenceResponse(model_name=NAME, outputs=outputs)


async def main() -> None:
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=http_port(),
        grpc_port=int(os.environ["GRPC_PORT"]),
        metrics_endpoint=None,
        parallel_workers=WORKERS,
        gzip_enabled=False,
    )
    await MLServer(settings).start([ModelSettings(name=NAME, implementation="tests.benchmarks.peers.mlserver.server.Runtime")])


if __name__ == "__main__":
    asyncio.run(main())
