"""What a request meets before it is answered: keys, limits, headers; and how a process stops."""

import asyncio
import json
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from conftest import Api, Serve, moved, wait_until
from project import Project
from starlette.responses import PlainTextResponse
from test_api import ROW

from churn import traffic
from churn.environment import Environment
from churn.front import Asked, Endpoint, Front, Reply
from churn.keys import Keys

KEY, OTHER = "the-key-of-the-crm", "the-key-of-billing"
PROBES = ("/health", "/ready", "/startup", "/ping")
CLOSED = ("/model", "/metrics", "/openapi.json", "/version")


@pytest.fixture
def with_keys(trained: Project, serve: Serve, tmp_path: Path) -> Api:
    moved(trained, "promote 2")
    keys = tmp_path / "keys"
    keys.write_text(f"crm:{KEY}\n")
    log = str(tmp_path / "log")
    api = serve(trained, API_KEYS_FILE=str(keys), OPEN_PATHS="/metrics", PREDICTION_LOG=log)
    wait_until(lambda: api.client.get("/ready").status_code == 200)
    return api


def test_without_a_key_only_probes_the_page_and_what_is_opened_answer(
    with_keys: Api, tmp_path: Path
) -> None:
    client = with_keys.client
    for path in (*PROBES, "/", "/docs", "/metrics"):
        assert client.get(path).status_code == 200, path
    for path in ("/model", "/openapi.json", "/version", "/no-such-thing"):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/predict", "/predict/batch", "/explain", "/invocations"):
        for headers in ({}, {"x-api-key": KEY[:-1]}, {"authorization": f"Basic {KEY}"}):
            answer = client.post(path, json=ROW, headers=headers)
            assert answer.status_code == 401, path
            assert "a key is needed" in answer.json()["detail"]

    for headers in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
        assert client.post("/predict", json=ROW, headers=headers).status_code == 200
        for path in CLOSED:
            assert client.get(path, headers=headers).status_code == 200, path

    text = "".join(path.read_text() for path in (tmp_path / "log").iterdir())
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["caller"] for record in records] == ["crm", "crm"]
    assert KEY not in text
    assert KEY not in client.get("/metrics").text

    # The key is changed while the API runs.
    (tmp_path / "keys").write_text(f"billing:{OTHER}\n")
    wait_until(lambda: client.get("/model", headers={"x-api-key": KEY}).status_code == 401)
    assert client.get("/model", headers={"x-api-key": OTHER}).status_code == 200


def test_status_shows_its_key_to_the_api(trained: Project, with_keys: Api) -> None:
    url = str(with_keys.client.base_url).rstrip("/")
    assert "wants a key: set API_KEY" in trained.do("python", "src/status.py", API_URLS=url)
    shown = trained.do("python", "src/status.py", API_URLS=url, API_KEY=KEY)
    assert f"{url} serves version 2" in shown


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_api_that_others_could_call_wants_keys(trained: Project, host: str) -> None:
    line = trained.refused("python", "src/api.py", HOST=host)
    assert f"HOST = {host}" in line
    assert "API_KEYS" in line


def test_unless_it_is_told_in_a_word_that_anybody_may_call(trained: Project, serve: Serve) -> None:
    moved(trained, "promote 2")
    api = serve(trained, HOST="0.0.0.0", API_KEYS="none")
    api.wait_for_version("2")
    assert api.predict(**ROW).status_code == 200


def test_a_page_has_the_headers_that_protect_it_and_no_answer_names_the_server(api: Api) -> None:
    for answer in (api.client.get("/"), api.client.get("/docs"), api.client.get("/model")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    for answer in (api.client.get("/"), api.predict(**ROW), api.client.get("/none")):
        assert "server" not in answer.headers
        assert "x-powered-by" not in answer.headers


def test_pages_of_other_origins_may_ask_only_where_they_are_named(
    trained: Project, api: Api, serve: Serve
) -> None:
    asking = {
        "origin": "https://crm.example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key",
    }
    closed = api.client.options("/predict", headers=asking)
    assert closed.status_code == 405
    allowed = "access-control-allow-origin"
    assert allowed not in closed.headers
    assert allowed not in api.client.post("/predict", json=ROW, headers=asking).headers

    opened = serve(trained, CORS_ORIGINS="https://crm.example.com").client
    assert opened.options("/predict", headers=asking).headers[allowed] == asking["origin"]
    other = asking | {"origin": "https://evil.example.com"}
    assert opened.options("/predict", headers=other).status_code == 400


LARGE = json.dumps({"rows": [ROW] * 3000}).encode()


def slow_body(
    api: Api, path: str = "/predict", body: bytes = json.dumps(ROW).encode()
) -> socket.socket:
    """A request on whose connection all but the last byte of its body have been sent."""
    made = socket.create_connection(("127.0.0.1", api.client.base_url.port or 0))
    made.settimeout(60)
    head = f"POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {len(body)}\r\n\r\n"
    made.sendall(head.encode() + body[:-1])
    return made


def finish(connection: socket.socket) -> bytes:
    connection.sendall(b"}")
    return connection.recv(65536)


def test_what_is_slow_and_large_has_a_number_of_places_and_other_requests_need_none(
    trained: Project, serve: Serve
) -> None:
    moved(trained, "promote 2")
    api = serve(trained, CONCURRENCY="1", REQUEST_SECONDS="300")
    api.wait_for_version("2")
    first = slow_body(api, "/predict/batch", LARGE)
    wait_until(lambda: b" 503 " in answered_or_closed(api))
    assert api.predict(**ROW).status_code == 200
    small = [slow_body(api) for _ in range(5)]
    assert all(b" 200 " in finish(each) for each in small)
    assert b" 200 " in finish(first)
    second = slow_body(api, "/predict/batch", LARGE)
    assert b" 200 " in finish(second)


def answered_or_closed(api: Api) -> bytes:
    """What a further slow request is told; its end is sent where it was let in."""
    with slow_body(api, "/predict/batch", LARGE) as connection:
        connection.settimeout(0.5)
        try:
            said = connection.recv(65536)
        except TimeoutError:
            return b""
        assert b"retry-after: 1" in said
        return said


def test_sigterm_finishes_what_is_under_way_and_takes_nothing_new(
    trained: Project, serve: Serve
) -> None:
    moved(trained, "promote 2")
    api = serve(trained, STOP_SECONDS="60", REQUEST_SECONDS="300")
    api.wait_for_version("2")
    under_way = slow_body(api)
    assert api.predict(**ROW).status_code == 200
    api.process.send_signal(signal.SIGTERM)

    def refuses() -> bool:
        try:
            socket.create_connection(("127.0.0.1", api.client.base_url.port or 0)).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refuses)
    assert api.process.poll() is None
    assert b" 200 " in finish(under_way)
    api.process.wait(60)


def test_sigterm_does_not_wait_for_ever(trained: Project, serve: Serve) -> None:
    moved(trained, "promote 2")
    api = serve(trained, STOP_SECONDS="1", REQUEST_SECONDS="300")
    api.wait_for_version("2")
    slow_body(api)
    assert api.predict(**ROW).status_code == 200
    api.process.send_signal(signal.SIGTERM)
    api.process.wait(60)


# The front by itself, with an endpoint of the test's own.


def call(front: Front, body: bytes) -> httpx.Response:
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(front)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/score", content=body)

    return asyncio.run(post())


def front(answer: object, name: str, **settings: object) -> Front:
    environment = Environment(**settings)  # type: ignore[arg-type]
    endpoint = Endpoint(answer, 10_000_000, traffic.Endpoint(name))  # type: ignore[arg-type]
    return Front(environment, Keys(environment), {"/score": endpoint}, PlainTextResponse("rest"))


def test_a_defect_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(asked: Asked) -> Reply:
        raise RuntimeError(f"secret of {asked.body!r}")

    answer = call(front(fail, "fails"), b"x")
    assert answer.status_code == 500
    assert answer.json() == {"detail": "internal error; the log of the API tells more"}
    assert "secret of b'x'" in caplog.text


def test_what_takes_too_long_is_a_503_and_keeps_its_place_until_it_is_done() -> None:
    def sleep(asked: Asked) -> Reply:
        time.sleep(1)
        return Reply(200, b"{}")

    large = b"x" * 1_000_000
    slow = front(sleep, "sleeps", REQUEST_SECONDS=0.1, CONCURRENCY=1)
    first, second = call(slow, large), call(slow, large)
    assert (first.status_code, second.status_code) == (503, 503)
    assert first.headers["retry-after"] == "1"
    assert "longer than 0.1 seconds" in first.json()["detail"]
    assert "1 requests are under way" in second.json()["detail"]
