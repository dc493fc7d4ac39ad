"""status.py and history.py, against a real MLflow server on SQLite and on PostgreSQL."""

import json

import pytest
from conftest import Serve, moved, registry_of
from project import Project

from churn.ledger import Ledger
from churn.registry import PRODUCTION

STATUS = ("python", "src/status.py")
HISTORY = ("python", "src/history.py")


def rows(project: Project, *arguments: str) -> dict[str, list[str]]:
    """The table of status.py, by version."""
    lines = project.do(*STATUS, *arguments).split("\n\n")[1].splitlines()
    assert lines[0].split()[:3] == ["version", "state", "gate"]
    return {line.split()[0]: line.split() for line in lines[1:]}


def test_each_version_is_shown_with_its_state(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2")
    moved(registered, "promote 3", alias="staging")
    found = rows(registered)
    assert list(found) == ["3", "2", "1"]
    assert found["3"][1:3] == ["staging", "failed"]
    assert found["2"][1:3] == ["production", "passed"]
    assert found["1"][1:3] == ["retired", "passed"]
    moved(registered, "rollback 1")
    found = rows(registered)
    assert found["2"][1:4] == ["rolled", "back", "passed"]
    assert found["1"][1] == "production"
    assert float(found["1"][4]) > 0.8, "ROC-AUC"


def test_a_version_that_was_never_moved_to_is_registered_or_rejected(registered: Project) -> None:
    found = rows(registered)
    assert [found[number][1] for number in "321"] == ["rejected", "registered", "registered"]
    assert list(rows(registered, "--limit", "1")) == ["3"]


def test_where_an_alias_came_from_is_said(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2")
    said = registered.do(*STATUS)
    assert "production  version 2, 1 → 2, promote by " in said
    assert "staging     points to nothing" in said


def test_an_alias_that_was_moved_outside_the_ledger_is_marked_and_left(registered: Project) -> None:
    moved(registered, "promote 1")
    registry_of(registered).point(PRODUCTION, "2")
    for _ in range(2):
        said = registered.do(*STATUS)
        assert "production  version 2, MOVED OUTSIDE THE LEDGER, which has it at 1" in said
    assert json.loads(registered.do(*STATUS, "--json"))["aliases"][PRODUCTION] == {
        "version": "2",
        "since": "",
        "by": "",
        "outside_ledger": True,
    }
    assert len(list(Ledger(registry_of(registered)).moves(PRODUCTION))) == 1


def test_what_each_api_serves_is_shown(trained: Project, serve: Serve) -> None:
    moved(trained, "promote 1")
    api = serve(trained, RELOAD_SECONDS="3600")
    api.wait_for_version("1")
    moved(trained, "promote 2")
    url = str(api.client.base_url).rstrip("/")
    urls = f"{url},http://127.0.0.1:9,{trained.mlflow_uri}"
    said = trained.do(*STATUS, API_URLS=urls)
    assert f"API         {url} serves version 1, NOT version 2" in said
    assert "http://127.0.0.1:9 does not answer" in said
    assert f"{trained.mlflow_uri} answers, but not as this API (HTTP 404)" in said
    found = json.loads(trained.do(*STATUS, "--json", API_URLS=urls))
    by_version = {each["version"]: each["served_by"] for each in found["versions"]}
    assert by_version == {"3": [], "2": [], "1": [url]}


def test_sync_rebuilds_the_mirror(registered: Project) -> None:
    moved(registered, "promote 2")
    mirror = registered.root / "registry"
    for path in mirror.glob("*.*"):
        path.unlink()
    registered.do(*STATUS, "--sync")
    assert (mirror / "current_model.txt").read_text() == "churn_model/2\n"
    entries = json.loads((mirror / "metadata.json").read_text())
    assert [entry["version"] for entry in entries] == ["3", "2", "1"]
    assert entries[1]["aliases"] == [PRODUCTION]
    assert entries[1]["metrics"]["roc_auc"] > 0.8
    assert len(entries[1]["data_hash"]) == 64


def test_a_mirror_that_is_no_mirror_is_rebuilt_by_the_next_move(registered: Project) -> None:
    (registered.root / "registry/metadata.json").write_text('{"not": "a list"}')
    moved(registered, "promote 1", "promote 2")
    registered.do("python", "src/rollback.py")
    entries = json.loads((registered.root / "registry/metadata.json").read_text())
    assert [entry["aliases"] for entry in entries] == [[], [], [PRODUCTION]]


def test_history_prints_the_moves_newest_first(registered: Project) -> None:
    assert "no alias has been moved yet" in registered.do(*HISTORY)
    moved(registered, "promote 1", "promote 2")
    registered.do("python", "src/rollback.py", "--reason", "too many calls")
    moved(registered, "promote 2", alias="staging")
    lines = registered.do(*HISTORY).splitlines()
    assert lines[0].split() == ["at", "alias", "from", "to", "command", "who", "gate", "why"]
    told = [line.split()[2:6] for line in lines[1:]]
    assert told == [
        ["staging", "-", "2", "promote"],
        ["production", "2", "1", "rollback"],
        ["production", "1", "2", "promote"],
        ["production", "-", "1", "promote"],
    ]
    assert lines[2].endswith("passed  too many calls")
    assert len(registered.do(*HISTORY, "--alias", "staging").splitlines()) == 2
    limited = registered.do(*HISTORY, "--limit", "2").splitlines()
    assert len(limited) == 4
    assert "--limit N shows more" in limited[-1]


def test_history_as_json_has_all_that_is_recorded(registered: Project) -> None:
    moved(registered, "promote 1", "promote 2")
    forced = ("--version", "3", "--force", "--reason", "an order")
    registered.do("python", "src/rollback.py", *forced)
    newest, *older = json.loads(registered.do(*HISTORY, "--json"))
    assert len(older) == 2
    wanted = {
        "alias": PRODUCTION,
        "from": "2",
        "to": "3",
        "command": "rollback",
        "reason": "an order",
        "gate": "failed",
        "number": 3,
    }
    assert {name: newest[name] for name in wanted} == wanted
    assert newest["forced"].startswith("was never in production; failed its gate")
    assert newest["at"] > older[0]["at"] > older[1]["at"]
    assert len(newest["git_commit"]) == 40
    assert newest["run_id"] in newest["run_url"]
    assert older[1]["from"] is None


@pytest.mark.parametrize("script", ["status", "history", "rollback", "promote"])
def test_the_commands_of_an_incident_import_nothing_heavy(trained: Project, script: str) -> None:
    moved(trained, "promote 1", "promote 2")
    arguments = {"promote": ["--version", "2"]}.get(script, [])
    code = (
        "import runpy, sys\n"
        f"sys.path.insert(0, 'src'); sys.argv = ['{script}.py', *{arguments}]\n"
        f"try: runpy.run_path('src/{script}.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'mlflow', 'pandas', 'sklearn', 'numpy', 'polars', 'pydantic'}\n"
        "print(heavy & set(sys.modules))\n"
    )
    assert trained.do("python", "-c", code).splitlines()[-1] == "set()"
