"""The soak of benchmarks/soak.py in its shortest form."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PRINTED
from crowd import Crowd
from project import Project
from soak import soak


def test_no_caller_is_told_anything_wrong_while_all_goes_wrong(
    project: Project, record_property: Callable[[str, object], None]
) -> None:
    project.do("python", "src/start_mlflow.py")
    outcome = soak(project, seconds=30, rate=300)
    record_property(PRINTED, outcome.table())
    assert outcome.missed == {}, outcome.crowd.failures[:5]
    assert outcome.crowd.requests > 100
    assert len(outcome.crowd.answers) == 2
    assert len(outcome.incidents) == 5


def crowd() -> Crowd:
    """One that has sent three requests, each of row 0."""
    found = Crowd(1, [b"{}"], {"1": [0.25], "2": [0.75]}, 0.0)
    for _ in range(3):
        found.number()
    return found


@pytest.mark.parametrize(
    ("said", "wrong", "refused"),
    [
        ({"model_version": "1", "request_id": "2", "probability": 0.25}, 0, 0),
        ({"model_version": "2", "request_id": "2", "probability": 0.25}, 1, 0),
        ({"model_version": "1", "request_id": "1", "probability": 0.25}, 1, 0),
        ({"model_version": "3", "request_id": "2", "probability": 0.25}, 0, 1),
        ({"model_version": "1", "request_id": "2", "predictions": []}, 1, 0),
    ],
)
def test_the_crowd_notices_a_wrong_answer(
    said: dict[str, object], wrong: int, refused: int
) -> None:
    found = crowd()
    found.answered(2, [0], 200, json.dumps(said).encode())
    assert (found.wrong, found.refused, found.failures) == (wrong, refused, [])


def test_the_crowd_notices_failures_but_those_that_it_is_to_excuse() -> None:
    found = crowd()
    found.excuse({4000})
    found.answered(0, [0], 503, b"no")
    found.cut_off(1, 4000, "reset")
    found.cut_off(2, 4001, "reset")
    assert found.failures == ["request 0: HTTP 503: b'no'", "request 2: reset"]
    assert found.lost == 1


def test_the_crowd_notices_what_was_answered_and_not_logged(tmp_path: Path) -> None:
    found = crowd()
    one = {"model_version": "1", "probability": 0.25}
    found.answered(0, [0], 200, json.dumps(one | {"request_id": "0"}).encode())
    two = {"model_version": "1", "predictions": [one, one], "request_id": "1"}
    found.answered(1, [0, 0], 200, json.dumps(two).encode())
    (tmp_path / "predictions-1.jsonl").write_text('{"request_id": "1"}\n')
    assert found.not_logged(tmp_path) == 2
    (tmp_path / "predictions-2.jsonl").write_text('{"request_id": "1"}\n{"request_id": "0"}\n')
    assert found.not_logged(tmp_path) == 0
