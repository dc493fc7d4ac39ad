"""The thread that follows the alias."""

import gc
import time
from collections.abc import Iterator

import httpx
import pytest
from conftest import moved
from project import Project

from churn.environment import read_environment
from churn.serving import AliasFollower


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Python looks for cycles only when it is told to, as a server that is seldom busy does."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_looking_again_and_again_leaves_no_garbage(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(trained, "promote 2")
    looks = 0

    def look(follower: AliasFollower) -> str | None:
        nonlocal looks
        looks += 1
        return look_for_real(follower)

    look_for_real = AliasFollower._look
    monkeypatch.setattr(AliasFollower, "_look", look)
    variables = {"MLFLOW_TRACKING_URI": trained.mlflow_uri, "RELOAD_SECONDS": "0.1"}
    follower = AliasFollower(read_environment(variables | {"MODEL_CACHE": "off"}))
    follower.start()
    while looks < 20:
        time.sleep(0.05)
    follower.stop()
    assert follower.served
    left = [each for each in gc.get_objects() if isinstance(each, httpx.Request)]
    assert len(left) < 10
