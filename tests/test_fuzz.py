"""What hostile requests get: an answer that says no, and nothing else."""

import asyncio
import json
from collections.abc import Callable

from conftest import PRINTED, Serve, moved, wait_until
from fuzz import HUNG_UP, fuzz
from hostile import KINDS, ROW, drawn
from project import Project

BODIES, SEED = 5000, 1


def test_no_hostile_request_gets_a_500_or_no_answer_and_what_is_answered_is_logged(
    trained: Project, serve: Serve, record_property: Callable[[str, object], None]
) -> None:
    moved(trained, "promote 2")
    api = serve(trained, REQUEST_SECONDS="1", PREDICTION_LOG="fuzz logs")
    wait_until(lambda: api.client.get("/ready").status_code == 200)
    before = api.predict(**ROW).json()
    port = api.client.base_url.port
    assert port
    found = asyncio.run(fuzz(port, BODIES, SEED))
    counts = {outcome: found.count(outcome) for outcome in {each for _, each in found.outcomes}}
    record_property(PRINTED, counts)
    assert (found.count(500), found.count(HUNG_UP), found.wrong) == (0, 0, {})
    assert {kind for kind, _ in found.outcomes} == {kind.__name__ for kind in KINDS}
    assert api.predict(**ROW).json()["probability"] == before["probability"]
    # Not splitlines(), which ends a line at U+2028 too.
    logs = (trained.root / "fuzz logs").iterdir()
    lines = [line for path in logs for line in path.read_text().strip().split("\n")]
    assert all(json.loads(line)["model_version"] == "2" for line in lines)
    assert len(lines) >= found.count(200) + 2


def test_a_request_can_be_sent_again_by_its_number() -> None:
    assert [drawn(SEED, number) for number in range(200)] == [
        drawn(SEED, number) for number in range(200)
    ]
    assert drawn(SEED, 0) != drawn(SEED + 1, 0)
