"""The prediction log: a line of JSON for each prediction, written before the answer goes out."""

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from churn.fastjson import dumps

# A file is followed by another when it has this many bytes, or seconds.
_LARGEST = 100_000_000
_OLDEST = 24 * 3600.0
_KEPT = 10  # files of a process
_DAY = 24 * 3600.0
_PAUSE = 1.0  # seconds until a log that failed is tried again

_log = logging.getLogger("churn")


class PredictionLog:
    """Appends records to a file of this process alone; one write for each call, so that a process
    that is killed loses no prediction that was answered. Files of any process go after `days`.

    What goes wrong with the log stops no prediction: `problem` says it, and it is tried again.
    """

    def __init__(self, folder: Path | None, days: int) -> None:
        self.problem = ""
        self._folder = folder
        self._days = days
        self._file = -1
        self._size = 0
        self._number = 0
        self._begun = 0.0
        self._failed_at = -_PAUSE
        self._lock = threading.Lock()
        if folder is not None:
            self._open()

    def write(
        self, records: Iterable[Mapping[str, Any]], same: Mapping[str, Any] | None = None
    ) -> None:
        """Append the records, in one write; `same` is part of each."""
        if self._folder is None:
            return
        lines = b"".join([dumps(each) + b"\n" for each in records])
        if same:
            # Written once, in front of each: its end and a record's beginning make a comma.
            start = dumps(same)[:-1] + b","
            lines = start + lines[1:].replace(b"\n{", b"\n" + start) if lines else lines
        with self._lock:
            self._append(lines)

    def _append(self, lines: bytes) -> None:
        now = time.monotonic()
        if self._file < 0 or self._size > _LARGEST or now - self._begun > _OLDEST:
            if now - self._failed_at < _PAUSE:
                return
            self._open()
            if self._file < 0:
                return
        try:
            written = os.write(self._file, lines)
        except OSError as error:
            self._fail(error)
            return
        if written < len(lines):
            self._take_back()
            self._fail(OSError("the disk took a part of a record"))
            return
        self._size += written

    def _take_back(self) -> None:
        """Cut off what was written of a record, so that each line of the file is a whole one."""
        with suppress(OSError):
            os.ftruncate(self._file, self._size)

    def _open(self) -> None:
        self.close()
        assert self._folder is not None  # noqa: S101
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._number += 1
        name = f"predictions-{stamp}-{self._number:06}-{os.getpid()}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._file = os.open(self._folder / name, flags, 0o640)
            self._size = os.fstat(self._file).st_size
            self._begun = time.monotonic()
            self._forget_old()
            self.problem = ""
        except OSError as error:
            self._fail(error)

    def _forget_old(self) -> None:
        """Remove the oldest files of this process, and those of all that are too old."""
        assert self._folder is not None  # noqa: S101
        ours = sorted(self._folder.glob(f"predictions-*-{os.getpid()}.jsonl"))
        for path in ours[:-_KEPT]:
            path.unlink(missing_ok=True)
        oldest = time.time() - self._days * _DAY
        for path in self._folder.glob("predictions-*.jsonl"):
            with suppress(FileNotFoundError):  # another process may be removing it
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _fail(self, error: OSError) -> None:
        self._failed_at = time.monotonic()
        problem = f"predictions are not logged: {error.strerror or error}"
        if problem != self.problem:
            # /ready shows the problem to callers, and a path is none of their business.
            _log.error("%s (%s)", problem, self._folder)
        self.problem = problem
        self.close()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
