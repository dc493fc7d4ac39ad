"""What every request meets first: who calls, and how much it may ask for.

What scores is answered here and never reaches FastAPI, whose own handling of a request takes longer
than the prediction. FastAPI has all other routes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from churn import traffic
from churn.environment import Environment
from churn.fastjson import dumps
from churn.keys import Headers, Keys

JSON = b"application/json"

PROBES = frozenset({"/health", "/ready", "/startup", "/ping"})
# The page and the description hold nothing of a model; what they ask for needs a key.
_PAGES = frozenset({"/", "/docs", "/favicon.ico"})
_PAGE_FILES = "/static-offline-docs/"

# A client that is still sending when the connection closes would never see why.
_MOST_DRAINED = 16 * 1024 * 1024

# Bytes; about 1,000 rows, which take less time than Python gives a thread at a time.
_SMALL = 160 * 1024
_THREADS = 2

_RETRY = (b"retry-after", b"1")

_SECURE = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        b" img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
)

_log = logging.getLogger("churn")


class Declined(Exception):
    """A request that is not answered as it wants; `detail` is the one line that says why, or has
    an entry for each field that is wrong."""

    def __init__(self, status: int, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Gone(Exception):
    """The caller has left before the request was whole."""


class Reply(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    kind: bytes = JSON


class Asked(NamedTuple):
    """A request to score: its body, the name of who asks, and its headers."""

    body: bytes
    caller: str
    headers: Headers


@dataclass(frozen=True)
class Endpoint:
    """What answers a POST of a path, how large its body may be, and what counts it."""

    answer: Callable[[Asked], Reply]
    most_bytes: int
    counted: traffic.Endpoint


class Front:
    """The ASGI application of one worker."""

    def __init__(
        self, environment: Environment, keys: Keys, endpoints: Mapping[str, Endpoint], rest: ASGIApp
    ) -> None:
        self._keys = keys
        self._endpoints = endpoints
        self._rest = rest
        self._open = PROBES | _PAGES | set(environment.OPEN_PATHS)
        self._seconds = environment.REQUEST_SECONDS
        self._most_held = environment.CONCURRENCY
        self._held = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="scoring")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        path: str = scope["path"]
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            await self._pass_on(path, scope, receive, send)
            return
        started = time.perf_counter()
        try:
            reply = await self._reply(endpoint, scope, receive)
        except Gone:
            return
        endpoint.counted.answered(reply.status, time.perf_counter() - started)
        await _send(send, reply)

    async def _reply(self, endpoint: Endpoint, scope: Scope, receive: Receive) -> Reply:
        try:
            caller = self._keys.caller(scope["headers"])
            if caller is None:
                raise Declined(401, _NO_KEY)
            if scope["method"] != "POST":
                raise Declined(405, "use POST")
            message = await receive()
            body: bytes = message.get("body", b"")
            if message.get("more_body"):
                body = await self._whole_body(message, receive, endpoint.most_bytes)
            elif len(body) > endpoint.most_bytes:
                raise _too_large(endpoint.most_bytes)
            asked = Asked(body, caller, scope["headers"])
            if len(body) <= _SMALL:
                return endpoint.answer(asked)
            return await self._in_a_thread(endpoint, asked)
        except Declined as declined:
            return _declined(declined.status, declined.detail)
        except Gone:
            raise
        except Exception:  # noqa: BLE001 - a defect; the log shows it, and no answer does
            _log.exception("a request failed")
            return Reply(500, b'{"detail":"internal error; the log of the API tells more"}')

    async def _whole_body(self, message: Message, receive: Receive, most_bytes: int) -> bytes:
        """The body that begins with `message`. Raises Declined where it is too large, and Gone
        where its end did not come (in time, as churn.connection sees to).

        Only a large one needs a place, for its memory: whoever sends many small ones byte by byte
        would keep out callers whose rows come in two packets.
        """
        body = message.get("body", b"")
        kept, size, holds = [body], len(body), False
        try:
            while message.get("more_body") and size <= most_bytes + _MOST_DRAINED:
                if size > _SMALL and not holds:
                    self._hold()
                    holds = True
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                body = message.get("body", b"")
                size += len(body)
                if size <= most_bytes:
                    kept.append(body)
                else:
                    kept.clear()
        finally:
            if holds:
                self._release()
        if size > most_bytes:
            raise _too_large(most_bytes)
        return b"".join(kept)

    async def _in_a_thread(self, endpoint: Endpoint, asked: Asked) -> Reply:
        """The answer to a large request, while the event loop answers others."""
        self._hold()
        loop = asyncio.get_running_loop()
        answer = loop.run_in_executor(self._threads, endpoint.answer, asked)
        # It holds its place until it is done, also where nobody waits for it any more.
        answer.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(answer)
        except TimeoutError:
            raise Declined(503, f"it takes longer than {self._seconds:g} seconds") from None

    def _hold(self) -> None:
        """Take one of the places for what cannot be answered at once. Raises Declined where all are
        taken."""
        if self._held >= self._most_held:
            raise Declined(503, f"{self._most_held} requests are under way; try again")
        self._held += 1

    def _release(self) -> None:
        self._held -= 1

    def _done(self, answer: "asyncio.Future[Reply]") -> None:
        self._release()
        if not answer.cancelled():
            answer.exception()  # has been looked at

    async def _pass_on(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Let FastAPI answer, with the headers that pages need."""

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_SECURE]
            await send(message)

        closed = path not in self._open and not path.startswith(_PAGE_FILES)
        if closed and self._keys.caller(scope["headers"]) is None:
            await _send(secured, _declined(401, _NO_KEY))
            return
        await self._rest(scope, receive, secured)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


_NO_KEY = "a key is needed: `Authorization: Bearer KEY` or `X-API-Key: KEY`"


def _too_large(most_bytes: int) -> Declined:
    return Declined(413, f"the body is larger than {most_bytes:,} bytes")


def _more_headers(status: int) -> list[tuple[bytes, bytes]]:
    match status:
        case 401:
            return [(b"www-authenticate", b"Bearer")]
        case 405:
            return [(b"allow", b"POST")]
        case 503:
            return [_RETRY]
    return []


def _declined(status: int, detail: str | list[dict[str, Any]]) -> Reply:
    return Reply(status, dumps({"detail": detail}))


async def _send(send: Send, reply: Reply) -> None:
    status, body, kind = reply
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    if status >= 400:
        headers += _more_headers(status)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
