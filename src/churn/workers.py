"""What each worker of an API serves, told by each in a file of a folder that they share."""

import json
import os
from pathlib import Path
from typing import Any

import psutil

from churn import files

FOLDER = "CHURN_WORKERS_FOLDER"
"""The variable in which api.py names the folder to the workers that it starts."""


class Board:
    """Where this worker says what it serves, and reads what the others say."""

    def __init__(self) -> None:
        folder = os.environ.get(FOLDER)
        self._folder = Path(folder) if folder else None
        self._own: dict[str, Any] = {}

    def post(self, state: dict[str, Any]) -> None:
        """Say what this worker serves, if that is news."""
        state = {"pid": os.getpid(), **state}
        if state == self._own:
            return
        self._own = state
        if self._folder:
            files.write_json(self._folder / f"worker-{os.getpid()}.json", state)

    def read(self) -> list[dict[str, Any]]:
        """What each worker that lives said last."""
        if self._folder is None:
            return [self._own] if self._own else []
        found = []
        for path in sorted(self._folder.glob("worker-*.json")):
            state = json.loads(path.read_text(encoding="utf-8"))
            if psutil.pid_exists(state["pid"]):
                found.append(state)
        return found
