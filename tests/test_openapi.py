"""The OpenAPI document and the API say the same, about every request."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from conftest import PRINTED, Serve, moved, wait_until
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from project import ROOT, Project
from pydantic_core import from_json, to_json
from test_request import reader
from test_schema import model_schema

from churn import request
from churn.column import Column, Seen
from churn.request import BadRow

SCHEMA = model_schema(
    whole=Column(type="integer", min=0, max=1200, seen=Seen(min=0, max=72)),
    any_whole=Column(type="integer"),
    coded=Column(type="integer", min=0, missing_values=("-1", "999"), nullable=True),
    code=Column(type="number", max=10, missing_values=("-1", "0")),
    part=Column(type="number", min=-0.5, max=0.5, nullable=True),
    flag=Column(type="boolean", values=("No", "Yes"), seen=Seen(min=0, max=1)),
    number_flag=Column(type="boolean", values=("1", "2"), nullable=True),
    plan=Column(type="category", values=("Basic", "Pro"), fold=True),
    region=Column(type="category", missing_values=("n.a.", "-")),
    maybe=Column(type="category", nullable=True, missing_values=("?",)),
)
ROW = {
    "whole": 3, "any_whole": -7, "coded": 5, "code": 2.5, "part": None, "flag": "Yes",
    "number_flag": "2", "plan": "Basic", "region": "EU", "maybe": None,
}  # fmt: skip
NUMBERS: list[float] = [0, -0.0, 1, 2, 3.0, 3.5, -1, -1.0, 999, 1200, 1201, 10, 10.5, 0.5, -0.5]
NUMBERS += [0.51, 1.0000001, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, float(2**53), 2**64]
NUMBERS += [10**30, 10**400, 1e300, 5e-324]
TEXTS = [
    "",
    " ",
    "\t\n",
    "\u3000",
    "\xa0 ",
    "\x00",
    "-",
    " - ",
    "n.a.",
    "nxax",
    "?",
    " ? ",
    "Basic ",
]
TEXTS += ["yes", " YES\n", "no", "Yess", "0", "1", " 1 ", "2", "3", "1.0", "true", "😀", "null"]
OTHERS = [None, True, False, [], {}, [1], {"a": 1}]
HOSTILE = [*NUMBERS, *TEXTS, *OTHERS]


def is_taken(row: dict[str, Any]) -> bool:
    try:
        reader(SCHEMA).read(from_json(to_json(row)))
    except BadRow:
        return False
    return True


@pytest.mark.parametrize("name", ROW)
def test_the_json_schema_allows_what_a_field_takes_and_nothing_else(name: str) -> None:
    rows = [ROW | {name: value} for value in HOSTILE]
    wrong = [row[name] for row in rows if ALLOWED.is_valid(row) != is_taken(row)]
    assert wrong == []
    assert {is_taken(row) for row in rows} == {True, False}


def test_it_names_the_fields() -> None:
    for row in (ROW | {"more": 1}, {name: ROW[name] for name in ROW if name != "maybe"}):
        assert not ALLOWED.is_valid(row)
        assert not is_taken(row)
    assert ALLOWED.is_valid(ROW)
    assert is_taken(ROW)


values = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
)


@seed(1)
@settings(max_examples=300, deadline=None, database=None)
@given(st.dictionaries(st.sampled_from([*ROW]), values, min_size=1, max_size=2))
def test_it_does_so_for_any_values(changed: dict[str, Any]) -> None:
    assert ALLOWED.is_valid(ROW | changed) == is_taken(ROW | changed)


ALLOWED = jsonschema_rs.Draft202012Validator(request.json_schema(SCHEMA))


def test_schemathesis_finds_no_request_that_is_not_answered_as_the_document_says(
    trained: Project,
    serve: Serve,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    moved(trained, "promote 2")
    api = serve(trained, API_KEYS=f"tester:{KEY}", OPEN_PATHS="/version")
    wait_until(lambda: api.client.get("/ready").status_code == 200)
    (tmp_path / "config.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "config.toml", "run"]
    command += [str(api.client.base_url.join("/openapi.json"))]
    command += ["--header", f"Authorization: Bearer {KEY}", "--checks", "all", "--no-color"]
    command += ["--max-examples", "30", "--seed", "1", "--generation-deterministic"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "csv_bodies", "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"^ *(\d+) generated, .*", done.stdout, re.MULTILINE)
    assert counted
    record_property(PRINTED, counted[0].strip())
    assert int(counted[1]) > 500
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested
    document = api.client.get("/openapi.json", headers={"X-API-Key": KEY}).json()
    assert int(tested[1]) == len(document["paths"])


KEY = "0123456789abcdef0123"
CONFIG = """
# A batch of too many rows is refused with the status of what is too large.
[checks]
negative_data_rejection.expected-statuses = ["400", "401", "413", "415", "422"]
"""
