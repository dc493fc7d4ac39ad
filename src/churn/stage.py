"""How a stage of the pipeline begins: alone in its checkout, with nothing left of one that was
killed."""

import fcntl
import os
import signal
import time
from pathlib import Path

import psutil

from churn import cli, files, paths
from churn.errors import UserError

_SCRIPTS = paths.ROOT / "src"
_STAGES = {
    _SCRIPTS / name for name in ("ingest_data.py", "prepare_data.py", "train.py", "evaluate.py")
}
_OUTPUTS = (
    paths.RAW,
    paths.PROCESSED,
    paths.MODEL,
    paths.MODEL_SKOPS,
    paths.TRAINING,
    paths.PLOTS,
    paths.MODEL_CARD,
    paths.METRICS,
)


def begin() -> None:
    """Until this process ends, no other stage begins in this checkout; SIGTERM ends it as Ctrl-C
    does. Raises UserError where another one is at work.

    DVC keeps its own stages apart. It knows neither the ones that are run by hand nor the one that
    goes on after the `dvc repro` that started it was killed.
    """
    signal.signal(signal.SIGTERM, cli.terminate)
    # Open to the end: the lock goes with the process. (reproduce.py locks the checkout's folder.)
    folder = os.open(_SCRIPTS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{_at_work()} is at work in this checkout; try again when it has ended"
        ) from None
    for path in _OUTPUTS:
        files.sweep(path)


def _at_work() -> str:
    """The stage that holds the lock, as a person can find it: the one that began first."""
    found = []
    for process in psutil.process_iter():
        try:
            folder = Path(process.cwd())
            scripts = _STAGES & {(folder / word).resolve() for word in process.cmdline()[1:3]}
            if scripts and process.pid != os.getpid():
                found.append((process.create_time(), process.pid, scripts.pop()))
        except (psutil.Error, OSError):
            continue
    if not found:
        return "another stage of the pipeline"
    began, pid, script = min(found)
    return (
        f"{paths.shown(script)} (process {pid}, since {time.strftime('%T', time.localtime(began))})"
    )
