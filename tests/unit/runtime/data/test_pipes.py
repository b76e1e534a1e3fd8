"""Commands of the user's: their rows, their errors, and their end in time. Real commands."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from fljob_runtime.data.errors import DataError
from fljob_runtime.data.pipes import Pipe


def python(code: str, deadline_s: float = 60.0) -> Pipe:
    return Pipe((sys.executable, "-c", code), deadline_s)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "part-0").write_text("1 2\n3 4\n", encoding="utf-8")
    return tmp_path / "part-0"


def test_a_file_goes_in_and_rows_come_out(source: Path) -> None:
    with python("import sys; print('a,b'); [print(*line.split(), sep=',') for line in sys.stdin]").output(
        source
    ) as made:
        assert made.read_text(encoding="utf-8") == "a,b\n1,2\n3,4\n"
    assert not made.exists()


def test_a_command_line_is_taken_apart_and_no_shell_sees_it(source: Path) -> None:
    with Pipe.parse("echo 'a b' $HOME > x; true").output(source) as made:
        assert made.read_text(encoding="utf-8") == "a b $HOME > x; true\n"


@pytest.mark.parametrize(
    ("code", "where"),
    [
        ("import sys; sys.exit('no such column')", r"part-0 \| .*: ended with code 1; its stderr ends: no such column"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "ended by signal 15; it wrote nothing to stderr"),
        ("import sys; sys.stderr.write('x' * 9000 + 'end'); sys.exit(3)", "code 3; its stderr ends: x{1997}end$"),
    ],
)
def test_a_command_that_fails_is_named_with_its_last_words(source: Path, code: str, where: str) -> None:
    with pytest.raises(DataError, match=where), python(code).output(source):
        pass


def test_of_what_a_command_said_only_the_end_is_read(source: Path) -> None:
    said = "os.ftruncate(2, 1 << 26); os.lseek(2, 0, os.SEEK_END); os.write(2, b'end')"
    tracemalloc.start()
    try:
        with (
            pytest.raises(DataError, match=r"code 3; its stderr ends: \0{1997}end$"),
            python(f"import os; {said}; os._exit(3)").output(source),
        ):
            pass
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 22


def test_a_command_that_does_not_end_is_killed_and_what_it_started_too(source: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    code = f"import os; os.fork(); open({str(tmp_path / 'alive')!r}, 'w').write('up'); import time; time.sleep(600)"
    seen: list[str] = []
    # a pipe's reader gets its end only when both processes, which have it open, are gone
    reader = threading.Thread(target=lambda: seen.append((tmp_path / "alive").read_text("utf-8")), daemon=True)
    reader.start()
    with pytest.raises(DataError, match=r"did not end within 5 s and was killed"), python(code, 5.0).output(source):
        pass
    reader.join(30.0)
    assert not reader.is_alive()


def test_a_command_that_is_not_there_is_named(source: Path) -> None:
    with (
        pytest.raises(DataError, match=r"part-0 \| no-such-command: cannot be run"),
        Pipe(("no-such-command",)).output(source),
    ):
        pass


@pytest.mark.parametrize(("command", "where"), [("", "the command is empty"), ("echo 'a", "No closing quotation")])
def test_what_is_no_command_line_is_refused(command: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        Pipe.parse(command)
