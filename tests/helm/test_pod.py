"""The pods of the web page and of `helm test`: command, user and environment."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.conftest import VERSION
from tests.helm.charts import API_URL, CHART, CI_VALUES, pods, render, the
from tests.pod_security import violations
from tests.serving.processes import free_ports, running

TOKEN = CHART / "ci" / "token-values.yaml"
SCHEDULING = CHART / "ci" / "scheduling-values.yaml"


def container(objects: list[dict[str, Any]], pod: str = "page") -> dict[str, Any]:
    (found,) = pods(objects)[pod]["containers"]
    return found


def environment(objects: list[dict[str, Any]], pod: str = "page") -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(objects, pod)["env"]}


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_pods_meet_pod_security_restricted(values: Path) -> None:
    for spec in pods(render(values=values)).values():
        assert violations(spec) == []
        assert spec["securityContext"]["runAsUser"] == 65532
        assert spec["automountServiceAccountToken"] is False
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_pod_that_violates_pod_security_is_detected() -> None:
    spec = pods(render())["page"] | {"hostNetwork": True, "volumes": [{"name": "node", "hostPath": {"path": "/"}}]}
    spec["containers"][0]["securityContext"] = {"capabilities": {"add": ["SYS_ADMIN"]}}
    assert [found.split(": ")[1].split(",")[0] for found in violations(spec)] == [
        "hostNetwork",
        "not of configMap",
        "allowPrivilegeEscalation is not false",
        "capabilities do not drop ALL",
        "capabilities add",
    ]


def test_container_runs_the_page() -> None:
    page = container(render())
    assert (page["image"], page["command"]) == (f"brain-tumor-ui:{VERSION}", ["python", "-m", "ui"])
    assert {port["name"]: port["containerPort"] for port in page["ports"]} == {"http": 8501, "metrics": 9464}
    assert environment(render()) == {
        "API_URL": API_URL,
        "PAGE_PORT": "8501",
        "METRICS_PORT": "9464",
        "SESSION_MINUTES": "10",
        "COLOUR_MAP": "inferno",
        "HOME": "/tmp",
    }


def test_page_starts_with_the_containers_environment_and_passes_its_probes(tmp_path: Path) -> None:
    objects = render("page.path=/mri/brain")
    page = container(objects)
    page_port, metrics_port = free_ports(2)
    env = environment(objects) | {"PAGE_PORT": page_port, "METRICS_PORT": metrics_port, "HOME": tmp_path}
    health = f"http://127.0.0.1:{page_port}{page['livenessProbe']['httpGet']['path']}"
    with running(page["command"][-1], env, health), urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as response:
        metrics = response.read().decode()
    for series in ('uploads_total{outcome="answered"}', 'uploads_total{outcome="refused"}', 'uploads_total{outcome="failed"}'):
        assert f"brain_tumor_ui_{series} 0.0" in metrics
    assert "brain_tumor_ui_request_seconds_count 0.0" in metrics


def test_written_files_stay_in_memory() -> None:
    """A spooled image must not reach the node's disk."""
    spec = pods(render())["page"]
    assert spec["volumes"] == [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_three_probes_check_health_and_allow_a_slow_start() -> None:
    page = container(render())
    for kind in ("startup", "liveness", "readiness"):
        assert page[f"{kind}Probe"]["httpGet"] == {"path": "/_stcore/health", "port": "http"}
    assert page["startupProbe"]["periodSeconds"] * page["startupProbe"]["failureThreshold"] == 120
    assert page["livenessProbe"]["periodSeconds"] * page["livenessProbe"]["failureThreshold"] == 60


def test_stopping_pod_first_waits_for_the_proxies() -> None:
    spec = pods(render())["page"]
    assert spec["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 10}}}
    assert spec["terminationGracePeriodSeconds"] == 30


def test_only_the_token_comes_from_an_existing_secret() -> None:
    objects = render(values=TOKEN)
    for pod in ("page", "test"):
        assert environment(objects, pod)["API_TOKEN"] == {"secretKeyRef": {"name": "brain-tumor-api", "key": "bearer"}}
    assert "API_TOKEN" not in environment(render())
    assert "Secret" not in {each["kind"] for each in objects}


def test_other_services_do_not_set_environment_variables() -> None:
    assert pods(render())["page"]["enableServiceLinks"] is False


def test_new_chart_alone_restarts_no_pod() -> None:
    assert the("Deployment", render())["spec"]["template"]["metadata"]["labels"] == {
        "app.kubernetes.io/name": "brain-tumor-ui",
        "app.kubernetes.io/instance": "page",
    }


def test_image_and_scheduling_values_reach_both_pods() -> None:
    objects = render(values=SCHEDULING)
    for name, spec in pods(objects).items():
        assert spec["containers"][0]["image"] == "registry.example/brain-tumor-ui:1.0.0-rc.1"
        assert spec["containers"][0]["imagePullPolicy"] == "Always"
        assert spec["imagePullSecrets"] == [{"name": "registry"}], name
        assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
        assert spec["tolerations"] == [{"key": "example.com/web", "operator": "Exists", "effect": "NoSchedule"}]
    template = the("Deployment", objects)["spec"]["template"]
    assert template["metadata"]["annotations"] == {"example.com/team": "neuro"}
    assert list(template["spec"]["affinity"]) == ["podAntiAffinity"]
    assert [each["maxSkew"] for each in template["spec"]["topologySpreadConstraints"]] == [1]
    assert environment(objects)["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert environment(objects)["COLOUR_MAP"] == "cividis"
    assert environment(objects)["SESSION_MINUTES"] == "2.5"


def test_service_account_is_created_or_named() -> None:
    created = render()
    assert the("ServiceAccount", created)["automountServiceAccountToken"] is False
    assert pods(created)["page"]["serviceAccountName"] == the("ServiceAccount", created)["metadata"]["name"]
    named = render("serviceAccount.create=false", "serviceAccount.name=reader")
    assert "ServiceAccount" not in {each["kind"] for each in named}
    assert {spec["serviceAccountName"] for spec in pods(named).values()} == {"reader"}
    assert pods(render("serviceAccount.create=false"))["page"]["serviceAccountName"] == "default"


def test_service_does_not_select_the_test_pod() -> None:
    objects = render()
    selector = the("Service", objects)["spec"]["selector"].items()
    assert not selector <= the("Pod", objects)["metadata"]["labels"].items()
    assert the("Pod", objects)["metadata"]["annotations"]["helm.sh/hook"] == "test"


@contextmanager
def fake_servers(statuses: dict[str, int], token: str | None = None, port: int = 0) -> Iterator[str]:
    """Serve one status per path, 401 if a required token is missing; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            admitted = not (self.path == "/readyz" and token) or self.headers["Authorization"] == f"Bearer {token}"
            self.send_response(statuses.get(self.path, 404) if admitted else 401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("readyz", "sent_token", "passes"),
    [(200, "bearer-1", True), (200, "bearer-1\n", True), (503, "bearer-1", False), (200, "wrong", False)],
)
def test_helm_test_checks_the_page_and_the_api(readyz: int, sent_token: str, passes: bool) -> None:
    objects = render(values=TOKEN)
    assert environment(objects, "test")["PAGE_URL"] == "http://page-brain-tumor-ui:80"
    command = [sys.executable, *container(objects, "test")["command"][1:], *container(objects, "test")["args"]]
    with fake_servers({"/_stcore/health": 200, "/readyz": readyz}, token="bearer-1") as url:
        env = {"PATH": os.environ["PATH"], "PAGE_URL": url, "API_URL": f"{url}/", "API_TOKEN": sent_token}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert (done.returncode == 0) is passes, done.stderr
    assert done.stdout.splitlines()[:3] == [f"GET {url}/_stcore/health", "200", f"GET {url}/readyz"]
    assert sent_token.strip() not in done.stdout + done.stderr


def test_helm_test_waits_for_a_port_that_a_network_policy_opens_late() -> None:
    objects = render()
    command = [sys.executable, *container(objects, "test")["command"][1:], *container(objects, "test")["args"]]
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    env = {"PATH": os.environ["PATH"], "PAGE_URL": url, "API_URL": url}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(5)
        assert process.poll() is None
        with fake_servers({"/_stcore/health": 200, "/readyz": 200}, port=port):
            output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines() == [f"GET {url}/_stcore/health", "200", f"GET {url}/readyz", "200"]


def test_helm_test_gives_up_after_a_minute() -> None:
    objects = render()
    (port,) = free_ports(1)
    env = {"PATH": os.environ["PATH"], "PAGE_URL": f"http://127.0.0.1:{port}", "API_URL": "http://unused"}
    (script,) = container(objects, "test")["args"]
    # A minute passes in a second.
    hurried = f"import time\nreal = time.monotonic\ntime.monotonic = lambda: 60 * real()\n{script}"
    done = subprocess.run([sys.executable, "-c", hurried], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
