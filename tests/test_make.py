"""The README's first command, in a checkout whose packages are installed already."""

import re
import sys
from pathlib import Path

import pytest
from conftest import Serve
from project import ROOT, checkout

PACKAGES = Path(sys.prefix)

pytestmark = pytest.mark.skipif(
    not (PACKAGES / ".installed").is_file(), reason="the tests do not run in make's .venv"
)


def test_make_run_ends_with_a_served_prediction(tmp_path: Path, serve: Serve) -> None:
    project = checkout(tmp_path)
    (project.root / ".venv").symlink_to(PACKAGES)
    api = serve(project, "make", "run")
    api.wait_for_version("1")
    example = api.client.get("/model").json()["served"]["example"]
    assert api.predict(**example).status_code == 200
    project.do("make", "stop")


def test_make_installs_nothing_without_its_hash(tmp_path: Path) -> None:
    planned = checkout(tmp_path).do("make", "--dry-run", "setup", "audit", "sbom")
    installs = re.findall(r"pip install .+", planned.replace("\\\n", ""))
    locks = {name for line in installs for name in re.findall(r"-r (\S+)", line)}
    assert locks == {path.name for path in ROOT.glob("requirements*.lock")}
    assert all("--require-hashes" in line for line in installs), installs


def test_make_help_lists_the_targets(tmp_path: Path) -> None:
    listed = checkout(tmp_path).do("make", "help")
    assert {line.split("\t")[0] for line in listed.splitlines()} >= {"run", "test", "lint", "stop"}
