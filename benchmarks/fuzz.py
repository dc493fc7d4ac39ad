"""A fuzz of POST /predict: no hostile request may be answered with a 500, and none not at all.

    python benchmarks/fuzz.py [--bodies 100000] [--seed 1] [--only NUMBER]

Each request has a connection of its own, 64 at a time (benchmarks/hostile.py has the kinds). An
answer must be whole, of a status that the API has for wrong requests (or 200), and show nothing of
the API's insides. The requests of a seed are always the same; --only sends one of them and prints
what came back. Writes reports/bench/fuzz.md. Ends with 1 where anything is wrong.
"""

import asyncio
import json
import os
import platform
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from conftest import moved, running, wait_until  # noqa: E402
from hostile import ROW, Request, drawn, post  # noqa: E402
from project import checkout  # noqa: E402

from churn import cli, files  # noqa: E402
from churn.errors import UserError  # noqa: E402

CONNECTIONS = 64
BODIES = 100_000
HUNG = 30.0  # seconds without a word; the API gives a request 1
REQUEST_SECONDS = "1"

STATUSES = frozenset({200, 400, 404, 405, 408, 413, 422, 431, 503})
_INSIDES = re.compile(rb"Traceback|\.py\b|/home/|/tmp/|site-packages|uvicorn|pydantic|starlette")

CLOSED, LEFT, HUNG_UP = "closed without an answer", "the sender left", "hung"


@dataclass
class Found:
    """What came back: how often each outcome for each kind, and what is wrong with which."""

    outcomes: Counter[tuple[str, int | str]] = field(default_factory=Counter)
    wrong: dict[int, str] = field(default_factory=dict)

    def count(self, outcome: int | str) -> int:
        return sum(times for (_, each), times in self.outcomes.items() if each == outcome)


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the connection."""

    status: int
    body: bytes
    problem: str = ""


async def fuzz(port: int, bodies: int, seed: int) -> Found:
    """Send the requests of the seed, CONNECTIONS at a time."""
    found = Found()
    numbers = iter(cli.progress(range(bodies), "hostile requests", bodies))

    async def send_some() -> None:
        for number in numbers:
            kind, request = drawn(seed, number)
            outcome, problem = await told(port, request)
            found.outcomes[kind, outcome] += 1
            if problem:
                found.wrong[number] = f"{kind}: {problem}"

    await asyncio.gather(*(send_some() for _ in range(CONNECTIONS)))
    return found


async def told(port: int, request: Request) -> tuple[int | str, str]:
    """The outcome of a request, and what is wrong with it."""
    try:
        async with asyncio.timeout(HUNG):
            answer = await exchange(port, request)
    except TimeoutError:
        return HUNG_UP, "neither an answer nor an end"
    if answer is None:
        # Who announces more than it sends, or leaves, cannot expect one; all others can.
        return (LEFT, "") if request[-1] is None else (CLOSED, "closed without an answer")
    return answer.status, answer.problem or wrong_with(answer)


async def exchange(port: int, request: Request) -> Answer | None:
    """Send the request on a new connection; its answer, or None where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        reading = asyncio.ensure_future(read_answer(reader))
        try:
            for piece in request:
                if isinstance(piece, float):
                    # An answer may come before the end, and then nobody reads the rest.
                    await asyncio.wait([reading], timeout=piece)
                elif piece is None:
                    writer.write_eof()
                else:
                    writer.write(piece)
                    await writer.drain()
        except OSError:  # the connection has ended while it was written to
            pass
        return await reading
    except ConnectionError:
        return None
    finally:
        writer.transport.abort()


async def read_answer(reader: asyncio.StreamReader) -> Answer | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100 "):
            head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        if not length:
            return Answer(status, b"", "an answer without a length")
        return Answer(status, await reader.readexactly(int(length[1])))
    except asyncio.IncompleteReadError as error:
        return Answer(0, error.partial, "a part of an answer") if error.partial else None


def wrong_with(answer: Answer) -> str:
    """What is wrong with a whole answer; an empty text where nothing is."""
    if answer.status not in STATUSES:
        return f"HTTP {answer.status}"
    if _INSIDES.search(answer.body):
        return f"shows the insides: {answer.body[:200]!r}"
    try:
        said = json.loads(answer.body)
    except ValueError:
        return f"no JSON: {answer.body[:200]!r}"
    if answer.status == 200:
        return "" if 0 <= said["probability"] <= 1 else f"probability {said['probability']}"
    return "" if said["detail"] else "it does not say why"


def table(found: Found, bodies: int, seed: int) -> str:
    kinds = sorted({kind for kind, _ in found.outcomes})
    statuses = sorted({outcome for _, outcome in found.outcomes}, key=str)
    lines = [
        f"# {bodies:,} hostile requests to `POST /predict`, sent on {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Seed {seed}, {CONNECTIONS} connections at a time, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}.",
        "",
        f"| kind | {' | '.join(map(str, statuses))} |",
        "|---" * (len(statuses) + 1) + "|",
    ]
    for kind in kinds:
        counts = [found.outcomes[kind, status] for status in statuses]
        lines.append(
            f"| {kind} | {' | '.join(f'{count:,}' if count else '' for count in counts)} |"
        )
    lines += [
        "",
        "| | |",
        "|---|---|",
        f"| answered with a 500 | {found.count(500)} |",
        f"| hung | {found.count(HUNG_UP)} |",
        f"| wrong in any way | {len(found.wrong)} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--bodies", type=cli.whole_number, default=BODIES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="churn fuzz ") as folder:
        project = checkout(Path(folder))
        project.do("dvc", "repro")
        try:
            moved(project, "promote 1")
            with running(project, REQUEST_SECONDS=REQUEST_SECONDS) as api:
                wait_until(lambda: api.client.get("/ready").status_code == 200)
                port = api.client.base_url.port
                assert port is not None
                if arguments.only is not None:
                    kind, request = drawn(arguments.seed, arguments.only)
                    outcome = asyncio.run(exchange(port, request))
                    cli.step(f"{kind}: {str(request)[:2000]}\n{outcome}")
                    return
                found = asyncio.run(fuzz(port, arguments.bodies, arguments.seed))
                after = asyncio.run(exchange(port, [post(json.dumps(ROW).encode())]))
        finally:
            project.do("python", "src/stop_mlflow.py")
    text = table(found, arguments.bodies, arguments.seed)
    cli.step(text)
    for number, problem in sorted(found.wrong.items())[:20]:
        cli.step(f"{number}: {problem}")
    if found.wrong or after is None or after.status != 200:
        raise UserError(f"{len(found.wrong)} of {arguments.bodies:,} requests went wrong")
    files.write_text(ROOT / "reports" / "bench" / "fuzz.md", text)


if __name__ == "__main__":
    cli.run(main)
