"""Many connections that ask the API again and again and check each answer."""

import asyncio
import re
import threading
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

HUNG = 30.0  # seconds without an answer
SAME = 1e-9  # by how much one probability may differ from another that is the same
BATCH, EVERY = 10, 50  # rows of a batch; every which request is one

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_HEAD = (
    b"POST %b HTTP/1.1\r\nhost: api\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


class Crowd:
    """The connections together, and what they found. `excuse` and `stop` may be called from
    another thread.

    `bodies` are rows as JSON, `expected` what each good version says to each, and `pause` the
    seconds that a connection waits after an answer. A request's id is its number.
    """

    def __init__(
        self,
        port: int,
        bodies: Sequence[bytes],
        expected: Mapping[str, Sequence[float]],
        pause: float,
    ) -> None:
        self.port = port
        self.bodies = bodies
        self.pause = pause
        self.failures: list[str] = []
        self.wrong = self.refused = self.lost = 0
        self.answers: Counter[str] = Counter()
        self._expected = expected
        self._acknowledged = array("B")
        self._excused: set[int] = set()
        self._stopped = threading.Event()

    @property
    def requests(self) -> int:
        return len(self._acknowledged)

    @property
    def summary(self) -> str:
        return f"{self.requests:,} requests, {len(self.failures)} failures, {self.wrong} wrong"

    async def ask(self, connections: int = 64) -> None:
        """Ask until stop(), and then wait for what is under way."""
        await asyncio.gather(*(self._keep_asking() for _ in range(connections)))

    def stop(self) -> None:
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def excuse(self, ports: set[int]) -> None:
        """What is under way on the connections from these ports may be lost."""
        self._excused |= ports

    async def _keep_asking(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.stopped:
            try:
                _, caller = await loop.create_connection(
                    lambda: Caller(self), "127.0.0.1", self.port
                )
            except OSError as error:
                self.failures.append(f"no connection: {error}")
                await asyncio.sleep(self.pause)
                continue
            await caller.ended

    def number(self) -> int:
        """The number of a new request."""
        self._acknowledged.append(0)
        return len(self._acknowledged) - 1

    def answered(self, number: int, rows: Sequence[int], status: int, body: bytes) -> None:
        if status != 200:
            self.failures.append(f"request {number}: HTTP {status}: {body[:200]!r}")
            return
        self._acknowledged[number] = len(rows)
        said = orjson.loads(body)
        version = said["model_version"]
        self.answers[version] += 1
        expected = self._expected.get(version)
        if expected is None:
            self.refused += 1
            return
        given = said.get("predictions", [said])
        right = said["request_id"] == str(number) and len(given) == len(rows)
        for row, one in zip(rows, given, strict=False):
            right = right and abs(one["probability"] - expected[row]) <= SAME
        self.wrong += not right

    def cut_off(self, number: int, port: int, why: str) -> None:
        """A request under way was not answered."""
        if port in self._excused:
            self.lost += 1
        else:
            self.failures.append(f"request {number}: {why}")

    def not_logged(self, folder: Path) -> int:
        """How many of the requests that were answered are not in the prediction log as a whole."""
        logged = array("B", bytes(self.requests))
        for path in folder.glob("predictions-*.jsonl"):
            with path.open("rb") as lines:
                for line in lines:
                    logged[int(orjson.loads(line)["request_id"])] += 1
        pairs = zip(self._acknowledged, logged, strict=True)
        return sum(found < wanted for wanted, found in pairs)


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._number = -1  # of the request under way, if one is
        self._rows: Sequence[int] = ()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._port = transport.get_extra_info("sockname")[1]
        self._ask()

    def _ask(self) -> None:
        if self._crowd.stopped or self._transport.is_closing():
            self._transport.close()
            return
        bodies = self._crowd.bodies
        self._number = number = self._crowd.number()
        if number % EVERY:
            self._rows = (number % len(bodies),)
            path, body = b"/predict", bodies[self._rows[0]][:-1] + b',"request_id":"%d"}' % number
        else:
            self._rows = [(number + step) % len(bodies) for step in range(BATCH)]
            rows = b",".join([bodies[row] for row in self._rows])
            path, body = b"/predict/batch", b'{"rows":[%b],"request_id":"%d"}' % (rows, number)
        self._transport.write(_HEAD % (path, len(body)) + body)
        self._late = self._loop.call_later(HUNG, self._hung)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or not length or len(body) < int(length[1]):
            return
        self._received = b""
        self._late.cancel()
        number, self._number = self._number, -1
        self._crowd.answered(number, self._rows, int(head[9:12]), body)
        self._loop.call_later(self._crowd.pause, self._ask)

    def _hung(self) -> None:
        self._crowd.cut_off(self._number, self._port, f"no answer for {HUNG:.0f} s")
        self._number = -1
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._number >= 0:
            self._late.cancel()
            self._crowd.cut_off(self._number, self._port, f"the connection was lost: {exc}")
        self.ended.set_result(None)
