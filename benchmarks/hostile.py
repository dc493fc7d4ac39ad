"""Requests to POST /predict that nobody means well with: each kind is a function that draws one.

A request is what goes over the connection, piece by piece, a number between two pieces being a
pause in seconds; None at its end says that the sender leaves without waiting for an answer.
"""

import gzip
import json
from collections.abc import Callable
from random import Random
from typing import Any

Request = list[bytes | float | None]

ROW: dict[str, Any] = {
    "tenure_months": 3,
    "num_complaints": 2,
    "avg_session_minutes": 12.5,
    "plan_type": "Basic",
    "region": "NA",
}
NUMBERS = ("tenure_months", "num_complaints", "avg_session_minutes")
TEXTS = ("plan_type", "region", "request_id")


def post(body: bytes, *headers: str, length: object = None) -> bytes:
    """A whole request, its Content-Length that of the body unless told otherwise."""
    lines = ["POST /predict HTTP/1.1", "Host: api", *headers]
    lines += [f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def with_value(name: str, written: bytes) -> bytes:
    """A row in which the field has this value, whatever it is as JSON."""
    body = json.dumps({**ROW, name: "\0"}).encode()
    return body.replace(b'"\\u0000"', written)


def deep(chance: Random) -> Request:
    start, end = chance.choice([("[", "]"), ('{"a":', "}"), ("[[],", "]"), ('{"region":[', "]}")])
    depth = int(10 ** chance.uniform(0, 4))
    closed = chance.choice([depth, depth - 1, 0])
    nested = (start * depth + chance.choice(["1", "", '"x"']) + end * closed).encode()
    return [post(nested if chance.random() < 0.5 else with_value(chance.choice([*ROW]), nested))]


def numbers(chance: Random) -> Request:
    digits = "".join(chance.choices("0123456789", k=int(10 ** chance.uniform(0, 4.7))))
    written = chance.choice(
        [
            digits,
            f"-{digits}",
            f"0.{digits}",
            f"{digits[:20]}.{digits}",
            f"1e{digits[: chance.randint(1, 9)]}",
            f"-1E+{digits[:6]}",
            f"1e-{digits[:6]}",
            str(
                chance.choice([2**53 - 1, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**308, 10**309])
            ),
            chance.choice(
                ["NaN", "Infinity", "-Infinity", "-0", "-0.0", "1e999", "5e-324", "1e-999"]
            ),
            chance.choice(
                ["0x10", "1_000", "+1", ".5", "5.", "01", "1e", "--1", "१", "1,5", "- 1"]
            ),
        ]
    )
    return [post(with_value(chance.choice([*NUMBERS, *TEXTS]), written.encode()))]


def texts(chance: Random) -> Request:
    odd = [
        rb"\ud800",
        rb"\udc00\ud800",
        rb"\ud83d\ude00",
        rb"\u0000",
        b"\x00",
        b"\xff",
        b"\xc0\xaf",
    ]
    odd += [
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        "😀".encode(),
        b"\\x41",
        b"\\",
        b"\n",
        b'\\"',
        b"%s%n",
    ]
    odd += [
        "\u202e\ufeff\u2028".encode(),
        b"${jndi:ldap://x}",
        b"' OR 1=1 --",
        b"<script>",
        b"\x1b[2J",
    ]
    text = b"".join(chance.choices(odd, k=chance.choice([1, 1, 2, 5, 200])))
    body = with_value(chance.choice(TEXTS), b'"' + text * chance.choice([1, 1, 1, 300]) + b'"')
    if chance.random() < 0.3:  # as the name of a field
        body = body[:-1] + b', "' + text + b'": 1}'
    return [post(chance.choice([b"", b"", b"", b"\xef\xbb\xbf", b"\xff\xfe"]) + body)]


def duplicates(chance: Random) -> Request:
    pairs = [
        f"{json.dumps(chance.choice([*ROW, 'request_id']))}:{any_json(chance, 1)}"
        for _ in range(int(10 ** chance.uniform(0, 3)))
    ]
    pairs += [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in ROW.items()]
    if chance.random() < 0.5:
        chance.shuffle(pairs)
    return [post(f"{{{','.join(pairs)}}}".encode())]


def values(chance: Random) -> Request:
    body = json.dumps(ROW)
    for _ in range(chance.randint(1, 3)):
        body = with_value(
            chance.choice([*ROW, "more", "request_id"]), any_json(chance).encode()
        ).decode()
    return [post(chance.choice([body, any_json(chance)]).encode())]


def any_json(chance: Random, depth: int = 3) -> str:
    kind = chance.randrange(10 if depth else 8)
    if kind == 8:
        return f"[{', '.join(any_json(chance, depth - 1) for _ in range(chance.randrange(4)))}]"
    if kind == 9:
        names = chance.sample([*ROW, "a", "", "__class__"], k=chance.randrange(4))
        return f"{{{', '.join(f'{json.dumps(n)}: {any_json(chance, depth - 1)}' for n in names)}}}"
    simple: list[Any] = [
        None,
        True,
        False,
        "",
        " ",
        "NA",
        chance.randint(-5, 2000),
        chance.gauss(0, 99),
    ]
    return json.dumps(simple[kind])


def broken(chance: Random) -> Request:
    """A good body with some of its bytes changed, taken out, doubled, or cut off."""
    body = bytearray(json.dumps(ROW).encode())
    for _ in range(chance.randint(1, 4)):
        at, to = sorted(chance.randrange(len(body) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                body[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del body[at:to]
            case 2:
                body[at:at] = body[at:to] * chance.choice([1, 1, 30])
            case 3:
                del body[at:]
            case _:
                body[at:at] = chance.randbytes(chance.choice([1, 4, 1000]))
        body = body or bytearray(b"{")
    return [post(bytes(body))]


def content_types(chance: Random) -> Request:
    body = json.dumps(ROW).encode()
    kind = chance.choice(
        ["text/plain", "application/xml", "multipart/form-data; boundary=x", "*/*", "", ";;;",
         "a" * 9000, "application/json; charset=utf-16", "application/x-www-form-urlencoded",
         "text/csv",
         "application/json\t", "application/vnd.api+json", "\udcff\udcfe"]
    )  # fmt: skip
    headers = [f"Content-Type: {kind}"] * chance.choice([1, 1, 2])
    if chance.random() < 0.3:
        headers.append(f"Content-Encoding: {chance.choice(['gzip', 'br', 'identity', 'x' * 99])}")
        body = chance.choice([_zipped(body), _zipped(b"0" * 10**7), body])
    elif chance.random() < 0.3:
        body = body.decode().encode(chance.choice(["utf-16", "utf-32", "utf-7", "cp037"]))
    return [post(body, *headers)]


def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)  # a file of this second would be another in the next


def lengths(chance: Random) -> Request:
    """A Content-Length that is not that of the body."""
    body = json.dumps(ROW).encode()
    less = chance.randrange(len(body))
    odd = [
        less,
        less,
        "-1",
        "1e2",
        "0x10",
        "",
        "99999999999999999999999",
        "+5",
        "5, 5",
        "５",
        f"{less}\r\n",
    ]
    length = chance.choice(odd)
    extra = chance.choice([[], ["Content-Length: 5"], ["Transfer-Encoding: chunked"]])
    return [post(body, *extra, length=length)]


def truncated(chance: Random) -> Request:
    """The sender leaves before the end of what it announced."""
    whole = post(json.dumps(ROW).encode(), length=chance.choice([None, 10**4, 10**6, 10**9]))
    return [whole[: chance.randrange(1, len(whole))], None]


def chunked(chance: Random) -> Request:
    body = json.dumps(ROW).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: api\r\nTransfer-Encoding: chunked\r\n\r\n"
    at = chance.randrange(1, len(body))
    pieces = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:at], body[at:])]
    good = b"".join(pieces)
    tail = chance.choice(
        [b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 3000 + b"\r\n",
         b"zz\r\n", b"-1\r\n\r\n", b"ffffffffffffffffffff\r\nx", b"5\r\nab\r\n0\r\n\r\n",
         b"\x00" * 50, b"5;" + b"a" * 70_000 + b"\r\n", b"7fffffff\r\n" + b"x" * 70_000, b"0\n\n",
         b"0\r\n"]
    )  # fmt: skip
    return [head, good + tail] if chance.random() < 0.7 else [head + tail]


def heads(chance: Random) -> Request:
    """What is wrong is in front of the body."""
    body = json.dumps(ROW).encode()
    name = "X-" + "a" * chance.choice([1, 10, 3000])
    many = chance.choice([1, 60, 70, 1000, 5000])
    flood = [f"{name}: {'b' * chance.choice([0, 10, 5000])}"] * many
    lines = chance.choice(
        [flood, ["no colon"], [": empty"], ["A : b"], ["A: b\x00c"], ["A: b", " folded"],
         ["Host: b"], ["Expect: 100-continue"], ["Expect: x"], ["Upgrade: websocket",
         "Connection: Upgrade"],
         ["Connection: close"], ["Connection: " + "x, " * 2000],
         ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: \x0bchunked"],
         ["Authorization: Bearer \udcff"], ["X-API-Key:"],
         ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "Connection: Upgrade"]]
    )  # fmt: skip
    request = post(body, *lines)
    first = chance.choice(
        [b"POST /predict HTTP/1.1", b"POST /predict HTTP/1.0", b"POST /predict HTTP/9.9",
         b"POST /predict", b"PRI * HTTP/2.0", b"GET /predict HTTP/1.1", b"DELETE /predict HTTP/1.1",
         b"BREW /predict HTTP/1.1", b"POST http://other/predict HTTP/1.1",
         b"POST //predict HTTP/1.1", b"POST /%ff%00 HTTP/1.1", b"POST /../../etc/passwd HTTP/1.1",
         b"POST /predict?" + b"a" * 20_000 + b" HTTP/1.1",
         b"CONNECT a:1 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"\x16\x03\x01\x02\x00\x01",
         b"\r\n\r\n", b" "]
    )  # fmt: skip
    if chance.random() < 0.6:
        request = request.replace(b"POST /predict HTTP/1.1", first, 1)
    return [request]


def large(chance: Random) -> Request:
    size = int(10 ** chance.uniform(4.5, 6))
    filled = chance.choice(
        [b" " * size, b"[" * size, chance.randbytes(size), b'"' + b"a" * size + b'"']
    )
    return [post(chance.choice([filled, with_value(chance.choice(TEXTS), filled)]))]


def slow(chance: Random) -> Request:
    """In small pieces with pauses: some are all there in time, and some never."""
    whole = post(json.dumps(ROW).encode())
    cuts = sorted(chance.sample(range(1, len(whole)), k=chance.randint(1, 4)))
    pieces: Request = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        pieces += [whole[start:end], chance.choice([0.01, 0.05, 0.05, 0.8])]
    return pieces[: chance.choice([len(pieces) - 1] * 3 + [len(pieces) - 3])]


KINDS: dict[Callable[[Random], Request], int] = {
    deep: 12, numbers: 15, texts: 15, duplicates: 10, values: 12, broken: 12, content_types: 6,
    lengths: 4, truncated: 4, chunked: 4, heads: 4, large: 1, slow: 1,
}  # fmt: skip
"""The kinds, with how many of a hundred are of them."""


def drawn(seed: int, number: int) -> tuple[str, Request]:
    """The kind and the request of this number: always the same ones."""
    chance = Random(f"{seed} {number}")
    (kind,) = chance.choices([*KINDS], weights=[*KINDS.values()])
    return kind.__name__, kind(chance)
