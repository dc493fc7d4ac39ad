"""MLflow's REST API over httpx: what moving, reading and serving a version needs, without
importing MLflow (which takes longer than the rest of such a command together)."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from churn.environment import Environment
from churn.errors import SettingsError, Unreachable, UserError
from churn.http import httpx

_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_LARGEST = 1_000_000_000  # bytes of one answer
_PAUSE = 0.2  # seconds before a request is sent again


class MlflowRefused(UserError):
    """MLflow understood the request and declined it; `code` is MLflow's own error code."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class NotFound(MlflowRefused):
    """The version, alias, run or file that was asked for does not exist."""


class NothingListens(Unreachable):
    """No process accepts connections at the address."""


class NotTrusted(Unreachable):
    """Client and server do not trust each other: a name, a password or a certificate is wrong."""


class _Failed(Unreachable):
    """MLflow is there, and failed at this request."""


class Mlflow:
    """A connection to one MLflow server. Safe to use from several threads.

    Every method raises Unreachable where the server does not answer, or something that is not
    MLflow does, and MlflowRefused (NotFound) where it declines.
    """

    def __init__(self, environment: Environment, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self.uri = environment.MLFLOW_TRACKING_URI
        self._user = environment.MLFLOW_TRACKING_USERNAME or environment.MLFLOW_TRACKING_TOKEN
        self._client = client(environment, timeout)

    def close(self) -> None:
        self._client.close()

    def get(self, route: str, **params: Any) -> dict[str, Any]:
        """The JSON answer of a GET of /api/2.0/mlflow/<route>."""
        return self._json(self._send("GET", _API + route, params=params))

    def post(self, route: str, **body: Any) -> dict[str, Any]:
        """The JSON answer of a POST to /api/2.0/mlflow/<route>."""
        return self._json(self._send("POST", _API + route, json=body))

    def delete(self, route: str, **body: Any) -> None:
        """A DELETE of /api/2.0/mlflow/<route>."""
        self._send("DELETE", _API + route, json=body)

    def pages(self, route: str, field: str, **body: Any) -> Iterator[dict[str, Any]]:
        """Every entry of `field` in a paginated search by POST."""
        token: str | None = ""
        while token is not None:
            page = self.post(route, **body, **({"page_token": token} if token else {}))
            yield from page.get(field, [])
            token = page.get("next_page_token") or None

    def put_artifact(self, artifact_uri: str, content: bytes) -> None:
        """Upload one file through the server to `mlflow-artifacts:/…`."""
        self._send("PUT", _artifact_path(artifact_uri), content=content)

    def get_artifact(self, artifact_uri: str) -> bytes:
        """Download one file through the server from `mlflow-artifacts:/…`."""
        return self._send("GET", _artifact_path(artifact_uri)).content

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._send_once(method, path, **request)
        except _Failed:
            # MLflow fails now and then and answers the next moment: 3.17.2 does where the first two
            # searches of its life come at once. What only reads can be asked again.
            if method != "GET" and not path.endswith("/search"):
                raise
        time.sleep(_PAUSE)
        return self._send_once(method, path, **request)

    def _send_once(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            with self._client.stream(method, path, **request) as response:
                self._check_size(response)
                response.read()
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise NotTrusted(
                    f"the certificate of {self.uri} is not trusted ({error}): name that of its CA"
                    " in MLFLOW_TRACKING_SERVER_CERT_PATH"
                ) from None
            raise NothingListens(f"no MLflow server at {self.uri}: {error}") from None
        except httpx.TimeoutException:
            raise Unreachable(f"{self.uri} does not answer; is it an MLflow server?") from None
        except httpx.RequestError as error:
            raise Unreachable(
                f"{self.uri} does not speak HTTP as an MLflow server does ({error})."
                f" {elsewhere(self.uri)}"
            ) from None
        if response.is_success:
            return response
        raise self._refusal(response)

    def _check_size(self, response: httpx.Response) -> None:
        """Raises UserError for an answer that would fill the memory."""
        size = int(response.headers.get("content-length", 0))
        if size > _LARGEST:
            raise UserError(
                f"{response.request.url.path} is {size:,} bytes large, and {_LARGEST:,} are read"
            )

    def _refusal(self, response: httpx.Response) -> UserError:
        """MLflow's own errors are JSON with an error code; anything else is not MLflow talking."""
        try:
            body = response.json()
            code, message = str(body["error_code"]), str(body["message"])
        except (ValueError, KeyError, TypeError):
            return self._foreign(response)
        kind = NotFound if code == "RESOURCE_DOES_NOT_EXIST" else MlflowRefused
        return kind(f"MLflow at {self.uri}: {message}", code)

    def _foreign(self, response: httpx.Response) -> UserError:
        status = response.status_code
        if status == 401:
            asks = "does not know that name and password" if self._user else "asks who you are"
            return NotTrusted(
                f"{self.uri} {asks}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD,"
                " or MLFLOW_TRACKING_TOKEN"
            )
        if status == 403 and "permission denied" in response.text.lower():
            request = f"{response.request.method} {response.request.url.path}"
            return MlflowRefused(
                f"MLflow at {self.uri} does not let this user do that ({request}): ask who"
                " administers it",
                "PERMISSION_DENIED",
            )
        if status == 403 and "host" in response.text.lower():
            return Unreachable(
                f"MLflow at {self.uri} refuses this host name: start it with --allowed-hosts"
                f" {urlsplit(self.uri).netloc} (start_mlflow.py: MLFLOW_SERVER_ALLOWED_HOSTS)"
            )
        if status == 404 and response.request.url.path.startswith(_ARTIFACTS):
            return NotFound(f"MLflow at {self.uri} has no such file", "RESOURCE_DOES_NOT_EXIST")
        if status >= 500:
            return _Failed(f"MLflow at {self.uri} failed with HTTP {status}; see its log")
        server = response.headers.get("server", "an unknown server")
        return Unreachable(
            f"{self.uri} answers, but not as MLflow (HTTP {status} from {server})."
            f" {elsewhere(self.uri)}"
        )

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._foreign(response)
        return body


def client(environment: Environment, timeout: httpx.Timeout = _TIMEOUT) -> httpx.Client:
    """An HTTP client of the MLflow server that says who we are."""
    uri = environment.MLFLOW_TRACKING_URI
    headers = {}
    if environment.MLFLOW_TRACKING_TOKEN:
        headers["Authorization"] = f"Bearer {environment.MLFLOW_TRACKING_TOKEN}"
    auth = None
    if environment.MLFLOW_TRACKING_USERNAME:
        auth = httpx.BasicAuth(
            environment.MLFLOW_TRACKING_USERNAME, environment.MLFLOW_TRACKING_PASSWORD
        )
    return httpx.Client(
        base_url=uri,
        headers=headers,
        auth=auth,
        timeout=timeout,
        # Loading the certificates takes 70 ms, and plain http has no use for them.
        verify=_trust(environment) if uri.startswith("https:") else False,
        # A proxy meant for the internet cannot reach this machine's own loopback.
        trust_env=not is_loopback(uri),
    )


def _trust(environment: Environment) -> ssl.SSLContext | bool:
    """Who may vouch for the server: MLflow's own variable names a file or a folder."""
    name = environment.MLFLOW_TRACKING_SERVER_CERT_PATH
    if not name:
        return True
    try:
        if Path(name).is_dir():
            return ssl.create_default_context(capath=name)
        return ssl.create_default_context(cafile=name)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(
            f"environment: MLFLOW_TRACKING_SERVER_CERT_PATH = {name!r}: no certificate in PEM form"
            f" ({error})"
        ) from None


def is_loopback(uri: str) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(uri).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def elsewhere(uri: str) -> str:
    """What to do where another program has the address."""
    if not is_loopback(uri):
        return "Is MLFLOW_TRACKING_URI right?"
    port = (urlsplit(uri).port or 5000) + 1
    return f"Choose another address: MLFLOW_TRACKING_URI=http://127.0.0.1:{port}"


def _artifact_path(artifact_uri: str) -> str:
    parts = urlsplit(artifact_uri)
    if parts.scheme != "mlflow-artifacts":
        raise UserError(
            f"the artifacts lie at {artifact_uri}, which only MLflow's own clients can read: start"
            " the server with --artifacts-destination, so that it passes files through"
        )
    return _ARTIFACTS + quote(parts.path.lstrip("/"))
