"""Two thousand connections that keep the API busy, and a few callers with a question."""

import asyncio
import json
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest
from conftest import PRINTED, Serve, moved, wait_until
from project import Project
from test_api import ROW

EACH = 500
CALLS = 50
HEAD = b"POST /predict HTTP/1.1\r\nHost: api\r\nContent-Length: 1000\r\n"


class Flood:
    """EACH connections of each kind, which come again two seconds after they were closed."""

    def __init__(self, port: int) -> None:
        self.counts: Counter[str] = Counter()
        self.open = self.most = 0
        self._port = port
        self._stopped = threading.Event()

    async def play(self) -> None:
        kinds = (self.headers, self.body, self.silent, self.idle)
        async with asyncio.TaskGroup() as group:
            for kind in kinds * EACH:
                group.create_task(self._again_and_again(kind))

    def stop(self) -> None:
        self._stopped.set()

    async def _again_and_again(self, kind: Callable[..., object]) -> None:
        while not self._stopped.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                self.counts["no connection"] += 1
                await asyncio.sleep(1)
                continue
            self.open += 1
            self.most = max(self.most, self.open)
            self.counts["opened"] += 1
            try:
                await kind(reader, writer)  # type: ignore[misc]
            except OSError:
                self.counts["thrown out"] += 1
            finally:
                self.open -= 1
                writer.transport.abort()
            await asyncio.sleep(2)

    async def headers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A header a second."""
        await self._drip(reader, writer, HEAD, b"X-A: b\r\n")

    async def body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A byte a second."""
        await self._drip(reader, writer, HEAD + b"\r\n", b" ")

    async def silent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Nothing at all."""
        await self._drip(reader, writer, b"", b"")

    async def idle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One whole request, and nothing after its answer."""
        writer.write(b"GET /health HTTP/1.1\r\nHost: api\r\n\r\n")
        if await reader.read(1000):
            await self._drip(reader, writer, b"", b"")

    async def _drip(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes, more: bytes
    ) -> None:
        writer.write(first)
        reading = asyncio.ensure_future(reader.read(1000))
        try:
            while not self._stopped.is_set():
                done, _ = await asyncio.wait([reading], timeout=1)
                if done:
                    answer = reading.result()
                    self.counts[answer[9:12].decode() if answer[:4] == b"HTTP" else "closed"] += 1
                    return
                writer.write(more)
        finally:
            reading.cancel()


def in_two_packets(port: int) -> int:
    """The status of a call whose body does not come all at once, as over a real network."""
    body = json.dumps(ROW).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: api\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        connection.sendall(body[:50])
        time.sleep(0.02)
        connection.sendall(body[50:])
        return int(connection.recv(65536)[9:12])


@contextmanager
def flooding(flood: Flood) -> Iterator[None]:
    thread = threading.Thread(target=lambda: asyncio.run(flood.play()))
    thread.start()
    try:
        yield
    finally:
        flood.stop()
        thread.join()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Each connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * EACH + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process may open only {hard} files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_callers_are_answered_while_2000_connections_keep_the_api_busy(
    trained: Project, serve: Serve, record_property: Callable[[str, object], None]
) -> None:
    moved(trained, "promote 2")
    api = serve(trained, REQUEST_SECONDS="2")
    wait_until(lambda: api.client.get("/ready").status_code == 200)
    url, port = str(api.client.base_url), api.client.base_url.port
    assert port
    flood = Flood(port)
    statuses: Counter[int] = Counter()
    with flooding(flood):
        wait_until(lambda: flood.counts["opened"] >= 4 * EACH)
        for number in range(CALLS):
            # A connection of its own each time: the API knows nobody from before.
            path = ("/predict", "/explain")[number % 2]
            statuses[httpx.post(f"{url}{path}", json=ROW, timeout=30).status_code] += 1
            statuses[httpx.get(f"{url}/ready", timeout=30).status_code] += 1
            statuses[in_two_packets(port)] += 1
        wait_until(lambda: bool(flood.counts["408"] and flood.counts["closed"]))
    record_property(PRINTED, {"callers": dict(statuses), "flood": dict(flood.counts)})
    assert statuses == {200: 3 * CALLS}
    assert flood.most > 1000
    process = psutil.Process(api.process.pid)
    wait_until(lambda: len(process.net_connections("tcp")) < 10)
