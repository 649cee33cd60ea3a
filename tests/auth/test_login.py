"""The overlay `auth`: the real oauth2-proxy with its arguments, in front of the real page and API, at a real issuer."""

import base64
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import oidc_provider_mock
import pytest
import requests
from playwright.sync_api import Browser, expect
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.sync.client import connect

from tests.auth.build import PROGRAM
from tests.manifests.render import overlay, the
from tests.serving import clients
from tests.serving.clients import PNG, V1
from tests.serving.conftest import Pair
from tests.serving.conftest import service as service
from tests.serving.processes import Service, free_ports, wait_for
from tests.ui.conftest import TIMEOUT_MS, Ui, ui, upload
from tests.ui.conftest import browser as browser

pytestmark = [
    pytest.mark.auth,
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs oauth2-proxy: run `make test-auth`"),
]
CLIENT, READER, SCRIPT_REDIRECT = "brain-tumor", "reader@hospital.example", "http://localhost/script"
API = "http://brain-tumor-predictor.brain-tumor.svc.cluster.local"
PAGE = "http://page-brain-tumor-ui.brain-tumor-ui.svc.cluster.local"
# Method, path, options of the request, and a key of the answer.
API_CALLS: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/predict", {"files": clients.form(PNG)}, "label"),
    ("POST", f"{V1}:predict", {"json": clients.instances([PNG])}, "predictions"),
    ("POST", clients.INFER, {"json": clients.tensors([PNG])}, "outputs"),
    ("GET", "/v2/models/brain-tumor", {}, "inputs"),
    ("GET", "/model", {}, "classes"),
]


@dataclass(frozen=True)
class Front:
    """The proxy's URL, the URL of its issuer, and the file with the proxy's output."""

    url: str
    issuer: str
    output: Path

    def call(self, method: str, path: str, token: str = "", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, self.url + path, headers=headers, allow_redirects=False, timeout=60, **options)


@contextmanager
def issuer(**options: Any) -> Iterator[str]:
    """Run an OpenID Connect issuer and return its URL."""
    users = [oidc_provider_mock.User(sub=READER, claims={"email": READER})]
    with oidc_provider_mock.run_server_in_thread(user_claims=users, **options) as server:
        yield f"http://localhost:{server.server_port}"


def id_token(issuer_url: str, client: str = CLIENT) -> str:
    """Get an ID token of an issuer by the authorization code flow of a client."""
    provider = requests.get(f"{issuer_url}/.well-known/openid-configuration", timeout=60).json()
    query = {"client_id": client, "redirect_uri": SCRIPT_REDIRECT, "response_type": "code", "scope": "openid email"}
    login = requests.post(
        provider["authorization_endpoint"], params=query, data={"sub": READER}, allow_redirects=False, timeout=60
    )
    (code,) = parse_qs(urlsplit(login.headers["Location"]).query)["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": SCRIPT_REDIRECT}
    tokens = requests.post(provider["token_endpoint"], data=form, auth=(client, "its secret"), timeout=60).json()
    return str(tokens["id_token"])


@pytest.fixture(scope="module")
def insecure_issuers() -> Iterator[None]:
    """Let the issuers of these tests work without HTTPS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
        yield


@contextmanager
def proxy(api_url: str, page_url: str, issuer_url: str, folder: Path) -> Iterator[Front]:
    """Start the proxy as the overlay's Deployment does, with the addresses of this test and secrets in a folder."""
    port = free_ports(1)[0]
    url, output = f"http://localhost:{port}", folder / "output.txt"
    (folder / "client-secret").write_text("s3cret")
    (folder / "cookie-secret").write_text(secrets.token_hex(16))
    (container,) = the("Deployment", overlay("auth"))["spec"]["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    arguments = "\n".join(container["args"])
    here = {API: api_url, PAGE: page_url, mount["mountPath"]: str(folder), "0.0.0.0:4180": f"127.0.0.1:{port}"}
    for there, address in here.items():
        assert there in arguments
        arguments = arguments.replace(there, address)
    settings = {"OIDC_ISSUER_URL": issuer_url, "CLIENT_ID": CLIENT, "REDIRECT_URL": f"{url}/oauth2/callback"}
    environment = os.environ | {f"OAUTH2_PROXY_{name}": value for name, value in settings.items()}
    with output.open("wb") as file:
        command = [str(PROGRAM), *arguments.split("\n")]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        wait_for(f"{url}/ready", Service(process, output), seconds=30)
        yield Front(url, issuer_url, output)
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def page(service: Pair) -> Iterator[Ui]:
    with ui(service.url) as started:
        yield started


@pytest.fixture(scope="module")
def front(service: Pair, page: Ui, insecure_issuers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with issuer() as url, proxy(service.url, page.url, url, tmp_path_factory.mktemp("oauth2-proxy")) as started:
        yield started


@pytest.fixture
def login(front: Front) -> Cookie:
    """Log in as a browser does: follow the redirects, fill in the form and keep the cookies. Return that of the session."""
    # The gateway in front of the proxy ends TLS. Here is none, so the cookies for HTTPS have to be kept without it.
    jar = CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https")))
    client = build_opener(HTTPCookieProcessor(jar))
    with client.open(f"{front.url}/?view=model", timeout=60) as form:
        assert form.url.startswith(front.issuer)
    with client.open(form.url, urlencode({"sub": READER}).encode(), timeout=60) as page:
        assert page.url == f"{front.url}/?view=model"
    (cookie,) = jar
    return cookie


def websocket(front: Front, **headers: str) -> str:
    """Open the page's WebSocket and return the subprotocol that the page chose."""
    url = front.url.replace("http://", "ws://") + "/_stcore/stream"
    with connect(url, subprotocols=["streamlit"], additional_headers=headers) as opened:  # type: ignore[list-item]
        return opened.subprotocol or ""


@pytest.mark.parametrize(("method", "path", "options", "key"), API_CALLS, ids=[call[1] for call in API_CALLS])
def test_api_answers_401_without_a_token_and_its_result_with_a_good_one(
    front: Front, method: str, path: str, options: dict[str, Any], key: str
) -> None:
    refused = front.call(method, path, **options)
    assert refused.status_code == 401
    assert key not in refused.text
    answered = front.call(method, path, id_token(front.issuer), **options)
    assert answered.status_code == 200
    assert answered.json()[key]


def test_page_redirects_to_the_login_of_the_issuer(front: Front) -> None:
    for path in ("/", "/?view=model", "/_stcore/host-config", "/metrics", "/docs", "/predict/"):
        answer = front.call("GET", path)
        assert answer.status_code == 302, path
    login = urlsplit(answer.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(login.query).items()}
    assert answer.headers["Location"].startswith(f"{front.issuer}/oauth2/authorize?")
    assert (query["client_id"], query["redirect_uri"]) == (CLIENT, f"{front.url}/oauth2/callback")
    assert (query["response_type"], query["scope"], query["code_challenge_method"]) == ("code", "openid email", "S256")
    assert query["nonce"]
    with pytest.raises(InvalidURI, match=front.issuer):
        websocket(front)


def changed(token: str) -> str:
    """Return a token with another user, under the old signature."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "==")) | {"sub": "somebody else"}
    return ".".join((header, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature))


def unsigned(token: str) -> str:
    """Return a token that says that it needs no signature."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}.eA"


def of_another_issuer(_: str) -> str:
    with issuer() as other:
        return id_token(other)


# How to make a token that the proxy refuses, and the reason in its log.
BAD_TOKENS: dict[str, tuple[Callable[[str], str], str]] = {
    "of another client": (lambda url: id_token(url, "another-client"), "does not match with any of allowed audiences"),
    "of another issuer": (of_another_issuer, "failed to verify signature"),
    "changed": (lambda url: changed(id_token(url)), "failed to verify signature"),
    "unsigned": (lambda url: unsigned(id_token(url)), "unexpected signature algorithm"),
    "no token": (lambda url: "s3cret", "no valid bearer token found"),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_bad_token_is_refused_everywhere(front: Front, kind: str) -> None:
    make, reason = BAD_TOKENS[kind]
    token = make(front.issuer)
    before = front.output.read_text()
    for method, path, options, _ in API_CALLS:
        assert front.call(method, path, token, **options).status_code == 401, path
    assert front.call("GET", "/", token).status_code == 302
    with pytest.raises(InvalidURI, match=front.issuer):
        websocket(front, Authorization=f"Bearer {token}")
    log = front.output.read_text().removeprefix(before)
    assert log.count(reason) == len(API_CALLS) + 2
    assert token not in log


def test_expired_token_is_refused(service: Pair, page: Ui, insecure_issuers: None, tmp_path: Path) -> None:
    with issuer(access_token_max_age=timedelta(minutes=-5)) as url, proxy(service.url, page.url, url, tmp_path) as front:
        assert front.call("GET", "/model", id_token(url)).status_code == 401
        assert "token is expired" in front.output.read_text()


def test_session_of_a_login_opens_the_page_its_websocket_and_the_api(front: Front, login: Cookie) -> None:
    assert (login.secure, login.path) == (True, "/")
    assert login.has_nonstandard_attr("HttpOnly")
    assert login.get_nonstandard_attr("SameSite") == "Lax"
    assert 7.9 * 3600 < (login.expires or 0) - time.time() < 8 * 3600
    sent = {"Cookie": f"{login.name}={login.value}"}
    assert requests.post(f"{front.url}/predict", headers=sent, files=clients.form(PNG), timeout=60).json()["label"]
    assert websocket(front, Origin=front.url, **sent) == "streamlit"
    with pytest.raises(InvalidStatus) as rejected:  # by the page itself: it sees the host that the browser sees
        websocket(front, Origin="https://another.example", **sent)
    assert rejected.value.response.status_code == 403
    with pytest.raises(InvalidURI, match=front.issuer):
        websocket(front, Origin=front.url, Cookie=sent["Cookie"][:-4])
    end = requests.get(f"{front.url}/oauth2/sign_out", headers=sent, allow_redirects=False, timeout=60)
    assert end.headers["Set-Cookie"].startswith(f"{login.name}=; ")


def test_script_reaches_the_page_with_a_token_and_nothing_of_the_api_but_its_routes(front: Front, service: Pair) -> None:
    token = id_token(front.issuer)
    assert websocket(front, Authorization=f"Bearer {token}") == "streamlit"
    for path in ("/metrics", "/docs", "/openapi.json"):
        assert requests.get(f"{service.url}{path}", timeout=60).text != front.call("GET", path, token).text
    log = front.output.read_text()
    assert token not in log
    assert "/predict" not in log.partition("OAuthProxy configured")[2]


def test_reader_logs_in_with_a_browser_and_gets_a_result(front: Front, browser: Browser) -> None:
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    tab = context.new_page()
    tab.goto(front.url)
    assert tab.url.startswith(front.issuer)
    tab.get_by_role("button", name=READER).click()
    expect(tab.locator(".state.ready")).to_be_visible()
    assert tab.url.rstrip("/") == front.url
    upload(tab, {"slice.png": PNG})
    context.close()
