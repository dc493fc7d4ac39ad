"""The same requests to `mlflow models serve` and to the API, of the same version."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conftest import Api, wait_until
from project import Project, free_port, local_environment

ROWS = [
    {"tenure_months": 3, "num_complaints": 2, "avg_session_minutes": 12.5, "plan_type": "Basic",
     "region": "EU"},
    {"tenure_months": 60, "num_complaints": 0, "avg_session_minutes": 45.0, "plan_type": "Pro",
     "region": "Mars"},
]  # fmt: skip
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
SPLIT = {"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS]}
CSV = "\n".join([",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)])
JSON = "application/json"


@pytest.fixture(scope="module")
def theirs(shared: Project) -> Iterator[httpx.Client]:
    """`mlflow models serve` of version 2."""
    port = str(free_port())
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--workers", "1", "--model-uri", "models:/churn_model/2", "--port", port]
    process = subprocess.Popen(
        command,
        cwd=shared.root,
        env=local_environment(MLFLOW_TRACKING_URI=shared.mlflow_uri),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        def answers() -> bool:
            try:
                return client.get("/ping").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, seconds=120)
        yield client
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


def ask(client: httpx.Client, content: str | bytes, kind: str | None = JSON) -> httpx.Response:
    headers = {"content-type": kind} if kind else {}
    return client.post("/invocations", content=content, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": ROWS},
        {"dataframe_split": SPLIT},
        {"dataframe_split": SPLIT | {"index": [7, 8]}},
        {"instances": ROWS},
        {"inputs": COLUMNS},
        {"dataframe_records": [row | {"more": 1} for row in ROWS]},
        {"dataframe_records": [dict(reversed(row.items())) for row in ROWS]},
    ],
    ids=lambda body: str(next(iter(body))),
)
def test_inputs_of_every_kind_get_the_same_predictions(
    body: dict[str, Any], api: Api, theirs: httpx.Client
) -> None:
    wanted, found = (ask(client, json.dumps(body)) for client in (theirs, api.client))
    assert (wanted.status_code, found.status_code) == (200, 200), wanted.text + found.text
    assert found.json() == wanted.json()
    assert found.headers["content-type"] == wanted.headers["content-type"]


@pytest.mark.parametrize("kind", ["text/csv", "text/csv; charset=utf-8"])
def test_csv_gets_the_same_predictions(kind: str, api: Api, theirs: httpx.Client) -> None:
    wanted, found = (ask(client, CSV, kind) for client in (theirs, api.client))
    assert (found.status_code, found.json()) == (wanted.status_code, wanted.json())
    assert found.json() == {"predictions": [1, 0]}


@pytest.mark.parametrize(
    "content",
    [
        b"{bad",
        b"\xff\xfe",
        b"",
        b"[1]",
        b"5",
        b"{}",
        json.dumps({"rows": ROWS}).encode(),
        json.dumps({"inputs": COLUMNS, "instances": ROWS}).encode(),
        json.dumps({"dataframe_records": [{"tenure_months": 3}]}).encode(),
        json.dumps({"dataframe_split": {"columns": ["a"]}}).encode(),
        json.dumps({"dataframe_split": SPLIT | {"data": []}}).encode(),
        json.dumps({"dataframe_records": [ROWS[0] | {"tenure_months": "many"}]}).encode(),
    ],
)
def test_what_is_wrong_has_the_same_status_and_error_code(
    content: bytes, api: Api, theirs: httpx.Client
) -> None:
    wanted, found = (ask(client, content) for client in (theirs, api.client))
    assert found.status_code == wanted.status_code == 400, wanted.text
    assert set(found.json()) == {"error_code", "message"}
    assert found.json()["error_code"] == wanted.json()["error_code"]


@pytest.mark.parametrize("content", [CSV.splitlines()[0], ""])
def test_csv_without_a_row_is_refused(content: str, api: Api, theirs: httpx.Client) -> None:
    wanted, found = (ask(client, content, "text/csv") for client in (theirs, api.client))
    assert (found.status_code, wanted.status_code) == (400, 400), wanted.text
    assert found.json()["error_code"] == wanted.json()["error_code"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "text/csv; charset=latin-1", f"{JSON}; format=split"]
)
def test_other_content_types_are_not_taken(kind: str, api: Api, theirs: httpx.Client) -> None:
    wanted, found = (ask(client, CSV, kind) for client in (theirs, api.client))
    assert found.status_code == wanted.status_code == 415
    assert found.headers["content-type"] == wanted.headers["content-type"]


def test_a_region_that_is_written_na_stays_a_region(api: Api) -> None:
    one = {"dataframe_records": [row | {"region": "NA"} for row in ROWS]}
    as_csv = CSV.replace("EU", "NA").replace("Mars", "NA")
    found = ask(api.client, as_csv, "text/csv").json()
    assert found == ask(api.client, json.dumps(one)).json()


@pytest.mark.parametrize("route", ["/ping", "/version"])
def test_the_probes_answer_alike(route: str, api: Api, theirs: httpx.Client) -> None:
    wanted, found = (client.get(route) for client in (theirs, api.client))
    assert (found.status_code, found.text) == (wanted.status_code, wanted.text)
    assert api.client.get("/health").status_code == theirs.get("/health").status_code
