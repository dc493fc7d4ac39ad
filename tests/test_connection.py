"""The limits of a connection, over real sockets."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from conftest import Api, moved, running
from project import Project
from test_api import ROW

from churn.connection import HEADER_BYTES, MOST_HEADERS

CONNECTIONS = 8


@pytest.fixture(scope="module")
def strict(shared: Project) -> Iterator[Api]:
    """An API whose patience is short."""
    variables = {"REQUEST_SECONDS": "1", "CONNECTIONS": str(CONNECTIONS), "RELOAD_SECONDS": "0.2"}
    with running(shared, **variables) as api:
        yield api


@pytest.fixture
def patient_client(trained: Project, strict: Api) -> Api:
    moved(trained, "promote 2")
    strict.wait_for_version("2")
    return strict


def connect(api: Api) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", api.client.base_url.port or 0))
    made.settimeout(60)
    return made


def told(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /predict HTTP/1.1\r\nhost: he",
        b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: 100\r\n\r\n{",
        b"POST /predict HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{",
        b"GET /health HTTP/1.1\r\nhost: here\r\ncontent-length: 100\r\n\r\n",
    ],
)
def test_a_request_that_does_not_arrive_is_a_408(strict: Api, begun: bytes) -> None:
    with connect(strict) as connection:
        connection.sendall(begun)
        said = told(connection)
    # A GET needs no body to be answered; its connection ends all the same.
    assert said.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 200 "))
    assert said.startswith(b"HTTP/1.1 408 ") or begun.startswith(b"GET")


def test_a_connection_that_says_nothing_is_closed(strict: Api) -> None:
    with connect(strict) as connection:
        assert told(connection) == b""


def test_a_trickle_does_not_keep_a_connection_open(strict: Api) -> None:
    with connect(strict) as connection:
        connection.settimeout(0.2)
        said = b""
        connection.sendall(b"POST /predict HTTP/1.1\r\n")
        while True:  # the server ends it, or this test never does
            try:
                connection.sendall(b"x: y\r\n")
                part = connection.recv(65536)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
            said += part
            if not part:
                break
    assert said == b"" or said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "headers",
    [
        b"x-long: " + b"y" * HEADER_BYTES + b"\r\n",
        b"".join(b"x-%d: y\r\n" % number for number in range(MOST_HEADERS + 1)),
        b"x-endless: " + b"y" * 1_000_000,
    ],
)
def test_headers_have_a_size(strict: Api, headers: bytes) -> None:
    with connect(strict) as connection:
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(b"POST /predict HTTP/1.1\r\nhost: here\r\n" + headers + b"\r\n{}")
        said = told(connection)
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_http_is_a_400(strict: Api, nonsense: bytes) -> None:
    with connect(strict) as connection:
        connection.sendall(nonsense)
        said = told(connection)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2]) == {"detail": "this is no HTTP request"}


def test_where_too_many_are_open_the_one_that_waits_longest_goes(patient_client: Api) -> None:
    strict = patient_client
    idle = [connect(strict) for _ in range(CONNECTIONS * 3)]
    try:
        assert strict.predict(**ROW).status_code == 200
        assert told(idle[0]) == b""
    finally:
        for connection in idle:
            connection.close()


def test_requests_behind_one_another_are_answered_in_their_order(patient_client: Api) -> None:
    body = json.dumps(ROW).encode()
    request = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n" % len(body)
    with connect(patient_client) as connection:
        last = request + b"connection: close\r\n\r\n" + body
        connection.sendall((request + b"\r\n" + body) * 3 + last)
        assert told(connection).count(b"HTTP/1.1 200 ") == 4
