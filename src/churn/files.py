"""Files that are whole or not there: written beside their place, then moved into it."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved over it if the block ends well, else removed."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes files that only their owner can read; give back what the umask allows.
            temporary.chmod(0o666 & ~current_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which takes its place if the block ends well, else removed.
    Killed at the wrong moment, it leaves no folder at `path` at all, and never a mixed one."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, old = (
            Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)) for _ in range(2)
        )
        try:
            yield temporary
            temporary.chmod(0o777 & ~current_umask())
            if path.exists():
                path.rename(old)  # which is empty
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the operating system that names no file, such as a full disk, or a temporary one
    names `path`."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if not error.filename or Path(error.filename).name.startswith(f".{path.name}."):
            error.strerror = error.strerror or str(error)  # Polars gives it a text alone
            error.filename = str(path)
        raise


def sweep(path: Path) -> None:
    """Remove what a process that was killed left of writing `path`. Only for who knows that no
    other process writes it at this moment."""
    for left in path.parent.glob(f".{path.name}.*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_text(path: Path, text: str) -> None:
    """Replace the file's content by `text` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Replace the file's content by `value` as indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The file's full SHA-256, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
