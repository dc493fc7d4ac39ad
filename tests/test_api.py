"""The API over HTTP, following a real registry."""

import io
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import joblib
import pandas as pd
import pytest
from conftest import Api, Serve, moved, registry_of, wait_until
from project import Project

from churn.registry import MODEL, PRODUCTION

PROMOTE = ("python", "src/promote.py")
ROW = {
    "tenure_months": 3,
    "num_complaints": 2,
    "avg_session_minutes": 12.5,
    "plan_type": "Basic",
    "region": "NA",
}


def test_without_a_model_it_answers_503_and_comes_alive_when_one_is_promoted(
    trained: Project, serve: Serve
) -> None:
    api = serve(trained)
    assert api.client.get("/health").status_code == 200
    for answer in (api.client.get("/ready"), api.predict(**ROW)):
        assert answer.status_code == 503
        assert "promote.py" in answer.json()["detail"]
    assert api.client.get("/model").json()["served"] is None
    assert "/predict" in api.client.get("/openapi.json").json()["paths"]
    trained.do(*PROMOTE)
    api.wait_for_version("2")
    assert api.predict(**ROW).status_code == 200


def test_an_answer_has_what_the_contract_says(api: Api) -> None:
    answer = api.predict(**ROW, request_id="my own")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == [
        *("request_id", "prediction", "probability", "threshold"),
        *("model_name", "model_version", "warnings"),
    ]
    assert body["request_id"] == "my own"
    assert body["model_name"] == MODEL
    assert body["model_version"] == "2"
    assert body["prediction"] == int(body["probability"] >= body["threshold"])
    assert body["warnings"] == []
    made = [api.predict(**ROW).json()["request_id"] for _ in range(2)]
    assert made[0] != made[1]


def test_the_same_row_gets_the_probability_of_the_fitted_pipeline(
    trained: Project, api: Api
) -> None:
    server = registry_of(trained)
    version = server.version("2")
    run = server.mlflow.get("runs/get", run_id=version.run_id)["run"]["info"]
    exported = server.mlflow.get_artifact(
        f"{run['artifact_uri']}/exported_models/{MODEL}_v1.joblib"
    )
    pipeline = joblib.load(io.BytesIO(exported))
    table = pd.read_csv(trained.root / "data/processed.csv", keep_default_na=False)
    rows = table[table["_split"] == "test"].drop(columns=["churn", "_split"]).head(50)
    expected = pipeline.predict_proba(rows)[:, 1]
    answers = [api.predict(**row).json() for row in json.loads(rows.to_json(orient="records"))]
    assert [answer["probability"] for answer in answers] == pytest.approx(expected, abs=1e-6)
    assert [answer["prediction"] for answer in answers] == pipeline.predict(rows).tolist()


def test_what_training_did_not_see_is_answered_with_a_warning(api: Api) -> None:
    answer = api.predict(**ROW | {"region": "Mars", "tenure_months": 500})
    assert answer.status_code == 200
    assert answer.json()["warnings"] == [
        "tenure_months: 500 is outside the training range 0 to 72",
        "region: 'Mars' was not seen in training",
    ]


def test_a_value_is_cleaned_as_in_training(api: Api) -> None:
    plain = api.predict(**ROW).json()
    spaced = api.predict(**ROW | {"region": " NA ", "plan_type": "Basic\n"}).json()
    assert spaced["probability"] == plain["probability"]
    assert spaced["warnings"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tenure_months": None}, "tenure_months"),
        ({"tenure_months": "3"}, "tenure_months"),
        ({"tenure_months": 3.5}, "tenure_months"),
        ({"tenure_months": True}, "tenure_months"),
        ({"tenure_months": -1}, "tenure_months"),
        ({"tenure_months": 10**400}, "tenure_months"),
        ({"avg_session_minutes": [1]}, "avg_session_minutes"),
        ({"plan_type": 1}, "plan_type"),
        ({"plan_type": None}, "plan_type"),
        ({"region": ""}, "region"),
        ({"shoe_size": 43}, "shoe_size"),
        ({"request_id": 7}, "request_id"),
        ({"request_id": "x" * 201}, "request_id"),
    ],
)
def test_a_wrong_value_is_a_422_that_names_the_field(
    api: Api, change: dict[str, object], field: str
) -> None:
    answer = api.predict(**ROW | change)
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", field]
    assert problem["msg"]


def test_a_missing_field_is_a_422_that_names_it(api: Api) -> None:
    answer = api.client.post("/predict", json={k: v for k, v in ROW.items() if k != "region"})
    assert answer.status_code == 422
    assert [problem["loc"] for problem in answer.json()["detail"]] == [["body", "region"]]


def test_everything_that_is_wrong_is_named_at_once(api: Api) -> None:
    answer = api.client.post("/predict", json={"tenure_months": "x", "num_complaints": 1})
    named = [problem["loc"][1] for problem in answer.json()["detail"]]
    assert named == ["tenure_months", "avg_session_minutes", "plan_type", "region"]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_a_number_that_is_not_finite_is_a_422(api: Api, number: bytes) -> None:
    body = json.dumps(ROW).encode().replace(b"12.5", number)
    answer = api.client.post("/predict", content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][1] == "avg_session_minutes"


@pytest.mark.parametrize("body", [b"", b"{bad", b"[1, 2]", b"null", b'"text"', b"\xff\xfe", b"{}"])
def test_a_body_that_is_no_row_is_a_422(api: Api, body: bytes) -> None:
    answer = api.client.post("/predict", content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"]


def test_a_megabyte_of_junk_is_a_413_and_the_next_request_is_answered(api: Api) -> None:
    answer = api.client.post("/predict", content=b"\x00junk" * 200_000)
    assert answer.status_code == 413
    assert "65,536" in answer.json()["detail"]
    assert api.predict(**ROW).status_code == 200


def test_model_tells_version_and_lineage(trained: Project, api: Api) -> None:
    state = api.client.get("/model").json()
    version = registry_of(trained).version("2")
    assert state["model_name"] == MODEL
    assert state["desired_version"] == state["served"]["version"] == "2"
    assert state["problem"] is None
    assert state["served"]["lineage"] == version.lineage
    assert all(state["served"]["lineage"].values())


def test_promotion_and_rollback_are_followed_without_a_failed_request(
    trained: Project, api: Api
) -> None:
    statuses: list[int] = []
    served: list[str] = []
    stop = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=api.client.base_url, timeout=30) as client:
            while not stop.is_set():
                answer = client.post("/predict", json=ROW)
                statuses.append(answer.status_code)
                served.append(answer.json()["model_version"])

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for number in ("1", "2", "1"):
            trained.do(*PROMOTE, "--version", number)
            api.wait_for_version(number)
        trained.do("python", "src/rollback.py", "--version", "2")
        api.wait_for_version("2")
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert set(statuses) == {200}
    assert set(served) == {"1", "2"}
    assert served[-1] == "2"


def test_two_versions_answer_differently_and_say_which_they_are(trained: Project, api: Api) -> None:
    second = api.predict(**ROW).json()
    trained.do(*PROMOTE, "--version", "1")
    api.wait_for_version("1")
    first = api.predict(**ROW).json()
    assert [second["model_version"], first["model_version"]] == ["2", "1"]
    assert first["probability"] != second["probability"]


class Bomb:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.path,))


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    project: Project, serve: Serve, tmp_path: Path
) -> None:
    project.do(*PROMOTE, "--version", "2")
    api = serve(project)
    api.wait_for_version("2")
    server = registry_of(project)
    exploded = tmp_path / "exploded"
    server.mlflow.put_artifact(
        f"{server.artifact_uri('1')}/extra_files/scorer.onnx", pickle.dumps(Bomb(exploded))
    )
    assert "cannot be served" in project.refused(*PROMOTE, "--version", "1")
    project.do(*PROMOTE, "--version", "1", "--force", "--reason", "to see what happens")
    wait_until(lambda: api.client.get("/model").json()["problem"] is not None)
    state = api.client.get("/model").json()
    assert state["desired_version"] == "1"
    assert state["served"]["version"] == "2"
    assert "version 1 is refused" in state["problem"]
    assert api.predict(**ROW).json()["model_version"] == "2"
    assert not exploded.exists()
    project.do("python", "src/rollback.py")
    wait_until(lambda: api.client.get("/model").json()["problem"] is None)


def test_a_version_that_was_served_before_takes_over_without_its_files(
    project: Project, serve: Serve
) -> None:
    project.do("python", "src/start_mlflow.py")
    moved(project, "promote 1")
    api = serve(project)
    api.wait_for_version("1")
    moved(project, "promote 2")
    api.wait_for_version("2")
    artifacts = project.root / "mlflow" / "artifacts"
    artifacts.rename(artifacts.with_name("gone"))
    moved(project, "rollback 1")
    api.wait_for_version("1")
    assert api.predict(**ROW).json()["model_version"] == "1"


def test_a_server_that_goes_away_changes_nothing_for_callers(
    project: Project, serve: Serve
) -> None:
    project.do(*PROMOTE, "--version", "2")
    api = serve(project)
    api.wait_for_version("2")
    project.do("python", "src/stop_mlflow.py")
    wait_until(lambda: api.client.get("/model").json()["problem"] is not None)
    assert api.predict(**ROW).json()["model_version"] == "2"
    assert api.client.get("/ready").status_code == 200
    project.do(*PROMOTE, "--version", "1")
    api.wait_for_version("1")


def test_the_accepted_fields_change_with_the_version(
    project: Project, serve: Serve, tmp_path: Path
) -> None:
    project.do(*PROMOTE, "--version", "2")
    api = serve(project, PREDICTION_LOG=str(tmp_path / "log"), PREDICTION_LOG_KEY="secret")
    api.wait_for_version("2")
    assert "region" in request_fields(api)
    project.edit("params.yaml", "drop: []", "drop: [region]")
    project.edit("params.yaml", "gate_f1: 0.99", "gate_f1: 0.5")
    project.edit(
        "data/schema.yaml",
        "  region:\n    type: category\n    values: [APAC, EU, LATAM, NA]\n",
        "",
    )
    project.edit("data/schema.yaml", "    max: 1440\n", "    max: 1440\n    log: drop\n")
    project.edit("data/schema.yaml", "Premium]\n", "Premium]\n    log: hash\n")
    project.do("dvc", "repro")
    project.do(*PROMOTE)
    api.wait_for_version("4")
    assert "region" not in request_fields(api)
    assert api.predict(**ROW).status_code == 422
    left = {k: v for k, v in ROW.items() if k != "region"}
    assert api.predict(**left | {"plan_type": "Unheard-of"}).status_code == 200
    # What the new version's schema keeps out of the log.
    (path,) = (tmp_path / "log").iterdir()
    text = path.read_text()
    logged = json.loads(text.splitlines()[-1])
    assert list(logged["features"]) == ["tenure_months", "num_complaints", "plan_type"]
    assert len(logged["features"]["plan_type"]) == 64
    assert logged["warnings"] == ["plan_type: not as in training"]
    assert "Unheard-of" not in text


def request_fields(api: Api) -> set[str]:
    document = api.client.get("/openapi.json").json()
    return set(document["components"]["schemas"]["PredictRequest"]["properties"])


def test_a_port_that_is_taken_is_said_in_one_line(trained: Project, api: Api) -> None:
    port = str(api.client.base_url.port)
    line = trained.refused("python", "src/api.py", PORT=port)
    assert f"127.0.0.1:{port}" in line
    assert f"PORT={int(port) + 1}" in line


def test_docs_load_nothing_from_elsewhere(api: Api) -> None:
    page = api.client.get("/docs").text
    assert "swagger-ui" in page
    assert "//" not in page.replace("http://127.0.0.1", "").split("<script>")[0]


def test_the_alias_is_read_from_the_registry_and_not_from_the_mirror(
    trained: Project, api: Api
) -> None:
    server = registry_of(trained)
    server.mlflow.post("registered-models/alias", name=MODEL, alias=PRODUCTION, version="1")
    api.wait_for_version("1")


def test_a_batch_gets_the_answers_of_its_rows_and_bad_ones_are_named(api: Api) -> None:
    rows = [ROW, ROW | {"tenure_months": "x"}, ROW | {"region": "Mars"}, 5]
    answer = api.client.post("/predict/batch", json={"rows": rows, "request_id": "b"}).json()
    assert (answer["request_id"], answer["model_version"]) == ("b", "2")
    first, second, third, fourth = answer["predictions"]
    assert second is fourth is None
    for found, row in ((first, rows[0]), (third, rows[2])):
        single = api.predict(**row).json()  # type: ignore[arg-type]
        assert found == {name: single[name] for name in ("prediction", "probability", "warnings")}
    assert third["warnings"] == ["region: 'Mars' was not seen in training"]
    assert [(e["index"], e["detail"][0]["loc"][1]) for e in answer["errors"]] == [
        (1, "tenure_months"),
        (3, "row"),
    ]
    empty = api.client.post("/predict/batch", json={"rows": []}).json()
    assert empty["predictions"] == empty["errors"] == []


@pytest.mark.parametrize("body", [{}, {"rows": 5}, {"rows": [], "more": 1}, [ROW]])
def test_a_batch_without_rows_is_a_422(api: Api, body: object) -> None:
    assert api.client.post("/predict/batch", json=body).status_code == 422


def test_a_batch_of_too_many_rows_is_a_413(trained: Project, serve: Serve) -> None:
    moved(trained, "promote 2")
    api = serve(trained, BATCH_ROWS="2")
    api.wait_for_version("2")
    assert api.client.post("/predict/batch", json={"rows": [ROW] * 2}).status_code == 200
    answer = api.client.post("/predict/batch", json={"rows": [ROW] * 3})
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "3 rows are more than 2 (BATCH_ROWS)",
    )


def test_an_explanation_adds_up(api: Api) -> None:
    answer = api.client.post("/explain", json=ROW).json()
    assert answer["probability"] == api.predict(**ROW).json()["probability"]
    assert [each["feature"] for each in answer["contributions"]] == list(ROW)
    assert [each["value"] for each in answer["contributions"]] == list(ROW.values())
    total = sum(each["contribution"] for each in answer["contributions"])
    whole = answer["reference_probability"] + total + answer["remainder"]
    assert whole == pytest.approx(answer["probability"], abs=1e-12)
    example = api.client.get("/model").json()["served"]["example"]
    assert [each["reference"] for each in answer["contributions"]] == list(example.values())
    nothing = api.client.post("/explain", json=example).json()
    assert {each["contribution"] for each in nothing["contributions"]} == {0}
    assert api.client.post("/explain", json=ROW | {"x": 1}).status_code == 422


def test_requests_and_predictions_are_counted(trained: Project, serve: Serve) -> None:
    moved(trained, "promote 2")
    api = serve(trained)
    api.wait_for_version("2")
    for _ in range(3):
        api.predict(**ROW)
    api.predict(**ROW | {"tenure_months": "x"})
    api.client.post("/predict/batch", json={"rows": [ROW] * 5})
    lines = api.client.get("/metrics").text.splitlines()
    assert 'churn_requests_total{endpoint="/predict",status="200"} 3.0' in lines
    assert 'churn_requests_total{endpoint="/predict",status="422"} 1.0' in lines
    assert 'churn_request_seconds_count{endpoint="/predict"} 4.0' in lines
    assert 'churn_predictions_total{model_version="2",prediction="1"} 8.0' in lines


def test_every_answer_is_in_the_log_before_it_goes_out(
    trained: Project, serve: Serve, tmp_path: Path
) -> None:
    moved(trained, "promote 2")
    api = serve(trained, PREDICTION_LOG=str(tmp_path / "log"))
    api.wait_for_version("2")
    answers = [api.predict(**ROW | {"tenure_months": months}).json() for months in range(5)]
    batch = api.client.post("/predict/batch", json={"rows": [ROW, 5, ROW]}).json()
    api.process.kill()
    (path,) = (tmp_path / "log").iterdir()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["request_id"] for r in records[:5]] == [a["request_id"] for a in answers]
    assert [r["probability"] for r in records[:5]] == [a["probability"] for a in answers]
    assert [r["features"]["tenure_months"] for r in records[:5]] == list(range(5))
    assert [r["request_id"] for r in records[5:]] == [batch["request_id"]] * 2
    assert {r["model_version"] for r in records} == {"2"}


def test_a_log_that_cannot_be_written_stops_no_prediction(
    trained: Project, serve: Serve, tmp_path: Path
) -> None:
    moved(trained, "promote 2")
    (tmp_path / "file").write_text("")
    api = serve(trained, PREDICTION_LOG=str(tmp_path / "file" / "log"))
    api.wait_for_version("2")
    assert api.predict(**ROW).status_code == 200
    ready = api.client.get("/ready")
    assert ready.status_code == 200
    assert "predictions are not logged" in ready.json()["prediction_log"]
    assert "churn_prediction_log_failures_total 1.0" in api.client.get("/metrics").text


def test_several_workers_serve_one_version_and_count_together(
    trained: Project, serve: Serve
) -> None:
    moved(trained, "promote 1")
    api = serve(trained, "python", "src/api.py", "--workers", "3", RELOAD_SECONDS="0.2")

    def all_serve(number: str) -> bool:
        workers = api.client.get("/model").json()["workers"]
        return [each["served_version"] for each in workers] == [number] * 3

    wait_until(lambda: all_serve("1"))
    moved(trained, "promote 2")
    wait_until(lambda: all_serve("2"))
    workers = api.client.get("/model").json()["workers"]
    assert len({each["pid"] for each in workers}) == 3
    for _ in range(30):
        with httpx.Client(base_url=api.client.base_url) as client:
            assert client.post("/predict", json=ROW).json()["model_version"] == "2"
    lines = api.client.get("/metrics").text.splitlines()
    assert 'churn_requests_total{endpoint="/predict",status="200"} 30.0' in lines


def test_workers_are_a_number(trained: Project) -> None:
    for wrong in ("0", "x", "65", "-1"):
        line = trained.refused("python", "src/api.py", "--workers", wrong, code=2)
        assert "is no number from 1 to 64" in line or "expected one argument" in line


def test_the_serving_process_needs_neither_mlflow_nor_pandas_nor_scikit_learn(
    trained: Project,
) -> None:
    moved(trained, "promote 2")
    code = (
        "import sys; sys.path.insert(0, 'src'); import api; api.create_app();"
        "from churn.environment import read_environment; from churn.registry import Registry;"
        "from churn.rest import Mlflow; from churn.served import Served;"
        "r = Registry(Mlflow(read_environment())); Served.load(r, r.version('2'));"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = set(trained.do("python", "-c", code).split())
    assert "onnxruntime" in loaded
    assert not loaded & {"mlflow", "pandas", "sklearn", "scipy", "joblib", "skops", "dvc", "polars",
                         "onnx", "matplotlib", "pyarrow"}  # fmt: skip
