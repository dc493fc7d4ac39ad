"""A connection of the API as uvicorn speaks HTTP on it, with the limits that uvicorn lacks.

uvicorn 0.54 waits without end for a request that has begun, takes headers of any size, and any
number of connections. Here a request has REQUEST_SECONDS to arrive, its headers have room for
HEADER_BYTES, and where CONNECTIONS are open, the one that has kept us waiting longest goes.
"""

import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from churn.environment import read_environment

HEADER_BYTES = 16 * 1024
MOST_HEADERS = 64


class WaitingRoom:
    """The connections of a process that wait for a request, the longest waiting first."""

    def __init__(self, connections: int, seconds: float) -> None:
        self.connections = connections
        self.seconds = seconds
        self._since: dict[Connection, float] = {}

    def enter(self, connection: "Connection") -> None:
        """Begin to wait for the connection's next request, or for the rest of one."""
        self._since.pop(connection, None)  # or it would keep its place
        self._since[connection] = time.monotonic()

    def leave(self, connection: "Connection") -> None:
        self._since.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection that has been waiting longest; False where none is waiting."""
        oldest = next(iter(self._since), None)
        if oldest is None:
            return False
        self.leave(oldest)
        oldest.transport.abort()
        return True

    def late(self) -> "list[Connection]":
        """Those whose time is over."""
        end = time.monotonic() - self.seconds
        found = []
        for connection, since in self._since.items():
            if since > end:
                break
            found.append(connection)
        return found

    def watch(self, call_later: Callable[..., Any]) -> None:
        """Turn the late away, and look again after a while."""
        for connection in self.late():
            self.leave(connection)
            connection.is_late()
        call_later(min(1.0, self.seconds / 4), self.watch, call_later)


@cache
def waiting_room() -> WaitingRoom:
    """The room of this process."""
    environment = read_environment()
    return WaitingRoom(environment.CONNECTIONS, environment.REQUEST_SECONDS)


class Connection(HttpToolsProtocol):
    """One connection. It is in the waiting room from its start, or from an answer, until its next
    request has arrived as a whole."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = waiting_room()
        self._begun = False
        self._in_headers = False
        self._header_bytes = 0
        self._refusal = (400, "this is no HTTP request")

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._room.connections and not self._room.make_room():
            self.turn_away(503, "too many connections")
            return
        self._room.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self.turn_away(431, f"the headers are larger than {HEADER_BYTES:,} bytes")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._room.enter(self)
        self._begun, self._in_headers, self._header_bytes = True, True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        size = len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
        if size > HEADER_BYTES or len(self.headers) > MOST_HEADERS:
            said = f"the headers are more than {MOST_HEADERS} or larger than {HEADER_BYTES:,} bytes"
            self._refusal = (431, said)
            raise ValueError(said)  # the parser stops, and uvicorn asks for the refusal
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._begun = False
        self._room.leave(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._begun and not self.pipeline:
            self._room.enter(self)

    def is_late(self) -> None:
        """End the wait for a request: with a word where one had begun."""
        if self._begun:
            self.turn_away(408, "the request did not arrive in time")
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls where the parser fails."""
        self.turn_away(*self._refusal)

    def turn_away(self, status: int, said: str) -> None:
        """Answer with the status, if nothing has been answered yet, and close the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_response(status, said))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


@cache
def _response(status: int, said: str) -> bytes:
    content = json.dumps({"detail": said}).encode()
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    return (
        STATUS_LINE[status]
        + b"content-type: application/json\r\nconnection: close\r\n"
        + retry
        + b"content-length: %d\r\n\r\n" % len(content)
        + content
    )
