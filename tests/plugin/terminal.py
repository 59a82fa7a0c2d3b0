"""A terminal of a given size: runs pytest in it and returns its screen."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

from tests.plugin.conftest import PATIENCE_S, until

IN_A_TERMINAL = """
import os, sys
os.setsid()  # then the first terminal that is opened becomes the controlling one, whose Ctrl-C reaches us
terminal = os.open(sys.argv[1], os.O_RDWR)
for number in range(3):
    os.dup2(terminal, number)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[2:]])
"""


class Terminal:
    """A terminal that an inner pytest runs in.

    Args:
        folder: the inner project.
        options: options of the inner pytest.
        columns, rows: its size.
        colour: whether pytest is to use colours.
    """

    def __init__(self, folder: Path, *options: str, columns: int = 100, rows: int = 50, colour: bool = True) -> None:
        self._columns = columns
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes = termios.tcgetattr(self._slave)
        self.seen = b""
        command = [sys.executable, "-c", IN_A_TERMINAL, os.ttyname(self._slave), *options]
        environment = os.environ | {"PY_COLORS": "1" if colour else "0"}
        environment.pop("COLUMNS", None)  # the other tests' lines are wide
        self._process = subprocess.Popen(command, cwd=folder, env=environment)

    def run(self, *, ctrl_c_at: str = "") -> int:
        """Reads what is shown until the end, pressing Ctrl-C once this has been; returns the exit code."""
        reader = threading.Thread(target=self._read)
        reader.start()
        try:
            if ctrl_c_at:
                until(lambda: ctrl_c_at.encode() in self.seen, lambda: f"never {ctrl_c_at}: {self.seen!r}")
                os.write(self._master, b"\x03")
            return self._process.wait(PATIENCE_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait(PATIENCE_S)
            self.modes_after = termios.tcgetattr(self._slave)
            os.close(self._slave)
            reader.join(PATIENCE_S)
            os.close(self._master)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
            while data := os.read(self._master, 65536):
                self.seen += data

    def screen(self) -> list[str]:
        """The final lines, as a terminal would draw them."""
        rows, row, column = [""], 0, 0
        for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", self.seen.decode()):
            if piece == "\r":
                column = 0
            elif piece == "\n":
                row += 1
                rows += [""] * (row + 1 - len(rows))
            elif piece == "\x1b[K":
                rows[row] = rows[row][:column]
            elif piece.startswith("\x1b"):
                assert piece.endswith("m"), f"a control sequence that is neither colour nor erasing: {piece!r}"
            else:
                for letter in piece:
                    if column == self._columns:
                        row, column = row + 1, 0
                        rows += [""] * (row + 1 - len(rows))
                    line = rows[row].ljust(column)
                    rows[row] = line[:column] + letter + line[column + 1 :]
                    column += 1
        return [line.rstrip() for line in rows]
