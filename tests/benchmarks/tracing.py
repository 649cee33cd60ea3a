"""The cost of traces: the transformer that sends its spans to a collector beside one that has none, on one predictor.

Both get the same images in short rounds, in turn, so that a busy machine slows both alike. Every request is recorded.
"""

import statistics

from tests.benchmarks.load import multipart
from tests.benchmarks.systems import VERBS, Ports, model_folder, parser, predictor, progress, sample_images, transformer
from tests.benchmarks.wrk import Measurement, Wrk
from tests.serving.otlp_receiver import running_otlp_receiver
from tests.serving.processes import free_ports

ROUNDS, ROUND_SECONDS = 5, 3


def main() -> None:
    """Print the ratio of the transformer's processor times for a request, with traces to without."""
    arguments = parser(__doc__).parse_args()
    http, traced_http, grpc, traced_grpc, *of_predictor = free_ports(6)
    ports, traced_ports = Ports(http, grpc, *of_predictor), Ports(traced_http, traced_grpc, *of_predictor)
    images, source = sample_images(arguments.images)
    with (
        model_folder(arguments.model) as model,
        running_otlp_receiver() as collector,
        predictor(model, ports),
        transformer(model, ports) as plain,
        transformer(model, traced_ports, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as traced,
    ):
        for verb, path in VERBS.items():
            requests = [multipart(path, image) for image in images]
            systems = {
                "without": Wrk(ports.http, requests, {"transformer": plain.process.pid}),
                "with": Wrk(traced_ports.http, requests, {"transformer": traced.process.pid}),
            }
            rounds: dict[str, list[Measurement]] = {name: [] for name in systems}
            for number in range(ROUNDS + 1):  # the first warms up
                for name, system in systems.items():
                    rounds[name].append(system.run(clients=1, seconds=ROUND_SECONDS))
                    progress(f"{verb}, round {number} of {ROUNDS}: {name} traces {rounds[name][-1].rate:.1f} a second")
            with_traces, without = ([each.cpu_ms["transformer"] for each in rounds[name][1:]] for name in ("with", "without"))
            ratios = sorted(more / less for more, less in zip(with_traces, without, strict=True))
            print(
                f"{verb}: {statistics.median(with_traces):.2f} ms of the transformer's processor time a request with traces, "
                f"{statistics.median(without):.2f} without: "
                f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
        print(f"{source}; {len(collector.spans)} spans received")


if __name__ == "__main__":
    main()
