import os
import signal
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from churn import cli
from churn.errors import Refused, Unreachable, UsageError, UserError

SRC = Path(__file__).resolve().parents[1] / "src"


def ended(error: BaseException | None, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit code and the error text of a script whose main() raises `error`."""

    def main() -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as caught:
        cli.run(main)
    return caught.value.code, capsys.readouterr().err


def script(body: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """A script of this project, in a process of its own."""
    lines = ["import sys", f"sys.path.insert(0, {str(SRC)!r})", "from churn import cli", body]
    return subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines), *arguments],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores the keyboard, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (None, 0, ""),
        (UserError("no such file"), 1, "error: no such file\n"),
        (Refused("it failed its gate"), 1, "error: it failed its gate\n"),
        (UsageError("unknown word"), 2, "error: unknown word\n"),
        (Unreachable("nobody answers"), 3, "error: nobody answers\n"),
        (KeyboardInterrupt(), 130, "error: stopped by the keyboard\n"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device\n"),
        (PermissionError(13, "Permission denied", "/x y"), 1, "error: Permission denied: /x y\n"),
        (OSError("the file system said no"), 1, "error: the file system said no\n"),
    ],
)
def test_an_end_has_its_exit_code_and_one_line(
    error: BaseException | None, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(error, capsys) == (code, line)


def test_an_error_of_many_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    error = UserError("is not valid YAML:\n  in line 3,\n\tcolumn 5\n")
    assert ended(error, capsys) == (1, "error: is not valid YAML: in line 3, column 5\n")


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyError("x"), MemoryError()])
def test_a_defect_of_the_program_keeps_its_traceback(error: Exception) -> None:
    def main() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        cli.run(main)
    assert caught.value is error


def test_an_operating_system_error_ends_in_one_line_for_real(tmp_path: Path) -> None:
    done = script(f"cli.run(lambda: open({str(tmp_path)!r}))")
    _, stderr = done.communicate()
    assert (done.returncode, stderr) == (1, f"error: Is a directory: {tmp_path}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_ends_in_one_line() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", "from churn import cli\ncli.run(lambda: cli.step('done'))"],
            env=os.environ | {"PYTHONPATH": str(SRC)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"


def test_a_reader_that_has_left_gets_no_traceback() -> None:
    done = script("cli.run(lambda: [cli.step('x' * 1000) for _ in range(1000)])")
    assert done.stdout is not None
    done.stdout.close()
    assert done.stderr is not None
    assert done.stderr.read() == ""
    assert done.wait() == 1
    done.stderr.close()


def test_an_interrupt_ends_in_one_line() -> None:
    done = script("import time\ncli.run(lambda: [cli.step('ready'), time.sleep(60)])")
    assert done.stdout is not None
    assert done.stdout.readline() == "ready\n"
    done.send_signal(signal.SIGINT)
    _, stderr = done.communicate()
    assert (done.returncode, stderr) == (130, "error: stopped by the keyboard\n")


def test_an_interrupt_before_main_begins_ends_in_one_line() -> None:
    done = script("import os, signal\nos.kill(os.getpid(), signal.SIGINT)")
    _, stderr = done.communicate()
    assert (done.returncode, stderr) == (-signal.SIGINT, "error: stopped by the keyboard\n")


def test_a_terminal_that_cannot_show_an_arrow_gets_the_rest() -> None:
    body = "'''Point 1 → 2.'''\n{}"
    for main in ("cli.step('1 → 2')", "cli.parser('1 → 2').parse_args(['--help'])"):
        done = script(body.format(f"cli.run(lambda: {main})"), PYTHONIOENCODING="latin-1")
        stdout, stderr = done.communicate()
        assert (done.returncode, stderr) == (0, "")
        assert "1 ? 2" in stdout


def test_a_wrong_word_is_a_usage_error_that_names_the_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/src/promote.py"])
    parser = cli.parser("Promote.")
    parser.add_argument("--version", type=cli.version_number)
    with pytest.raises(UsageError, match=r"--frobnicate; see python src/promote\.py --help$"):
        parser.parse_args(["--frobnicate"])
    with pytest.raises(UsageError, match=r"--vers"):
        parser.parse_args(["--vers", "3"])
    with pytest.raises(UsageError, match=r"'three' is not a version number \(1, 2, 3, …\)"):
        parser.parse_args(["--version", "three"])


def test_the_help_is_the_docstring_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parser("Do this.\n\n        do it       like so\n").parse_args(["--help"])
    assert caught.value.code == 0
    assert "do it       like so" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "number"), [("1", "1"), ("007", "7"), ("120", "120")])
def test_a_version_number_is_a_whole_number_from_1(text: str, number: str) -> None:
    assert cli.version_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "v1", "१", "²", " 1", "1_0", "latest"])
def test_what_is_no_version_number_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a version number"):
        cli.version_number(text)


def test_progress_gives_the_items_and_says_nothing_off_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert list(cli.progress([1, 2, 3], "counting", 3)) == [1, 2, 3]
    assert capsys.readouterr().err == ""
