"""Whole, damaged and random inputs for options, markers, TOML files and addresses.

`python -m tests.fuzz.fuzz_inputs --inputs 1_000_000`

Each must end in a value or in the parser's own kind of error, with a text. Anything else is printed with the way to see
it again, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from pytest_llmperf.config import load as load_config
from pytest_llmperf.errors import LlmperfError, MeasurementError, UsageError
from pytest_llmperf.judge.baselines import baseline_files
from pytest_llmperf.judge.gate_kinds import GATE_KINDS
from pytest_llmperf.judge.markers import build
from pytest_llmperf.measure.wire.prepared_request import prepare
from pytest_llmperf.plugin.options.option_table import OPTIONS
from pytest_llmperf.servers.emulator.faults.fault_plan import load_plan

CONFIG = """
[deployments.production]
urls = ["http://10.0.0.5:11434", "http://10.0.0.5:11435"]
model = "gemma3:latest"

[deployments.demo]
backend = "simulated"
ports = [1, 2]
script = { decode_tok_s = 80.0, ttft_ms = 30.0 }
"""
PLAN = """
seed = 1

[[fault]]
kind = "stall"
instance = "b"
requests = "3-7"
seconds = 2.5
"""
BASELINE = """
schema = 1
description = "mine"

[[threshold]]
metric = "scaling_efficiency_pct"
level = "validation"
bound = "min"
value = 70.0
unit = "%"
source = "agreed"
"""
FILES: dict[str, tuple[str, Callable[[Path], object], type[LlmperfError]]] = {
    "llmperf.toml": (CONFIG, load_config, UsageError),
    "plan.toml": (PLAN, load_plan, UsageError),
    "mine.toml": (BASELINE, baseline_files.load, LlmperfError),
}
_HUGE = "1" + "0" * 400
_OF_TOML = (
    "0 1 -1 3 nan inf true {} [] [[]] '' \"x\" = , # seed kind [[fault]] [deployments.x] schema schema=2 1e999 "
    "9999999999999 1979-05-27 'a'='b' session rounds \x00 \x1b é \U0001f600 \n \r"
).split(" ")
_OF_OPTIONS = (
    "a , = . : / [ ] @ % - + _ 0 1 9 e nan inf 1e400 http:// https:// localhost 127.0.0.1 ::1 efficiency contention "
    "seed on off dual threads ttft_ms ~ $HOME ../ \x00 \x1b[2J é ٣ \ud800 \n"
).split(" ")
_OF_ADDRESSES = (
    "http:// https:// ftp:// [ ] : / // @ ? # % .. 127.0.0.1 ::1 localhost a.b é xn--a 0 11434 99999 user:pw@ "
    "\r\n \x00 \t \ud800"
).split(" ")
_VALUES: tuple[object, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        95,
        10**400,
        0.5,
        1e308,
        -0.0,
        float("nan"),
        float("inf"),
        "",
        "a",
        "ttft",
        "system",
    ),
    *(b"x", [], ["decode_tok_s"], (), ("ttft_ms",), ("ttft_ms", 3), {}, {"a": 1}, object, len, 3j),
)
_KEYWORDS = tuple({row.name for kind in GATE_KINDS.values() for row in kind.keywords} | {"nonsense"})


class Inputs:
    """Random inputs for each parser.

    Args:
        seed: seed of the inputs.
        folder: for files.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._random = Random(seed)
        self._folder = folder
        self._checks = (self._file, self._option, self._marker, self._address)

    def check(self) -> str:
        """One input: the parser, and whether it had a value. Raises AssertionError, or whatever broke."""
        return self._random.choice(self._checks)()

    def _joined(self, pieces: list[str], most: int) -> str:
        drawn = self._random.choices(pieces, k=self._random.randint(0, most))
        return "".join(drawn + [chr(self._random.randrange(0x3000))] * (self._random.random() < 0.2))

    def _file(self) -> str:
        name = self._random.choice(tuple(FILES))
        text, read, kind = FILES[name]
        data = text.encode()
        for _ in range(self._random.randint(0, 3)):
            at = self._random.randint(0, len(data))
            new = (
                self._joined([*_OF_TOML, _HUGE], 3).encode()
                if self._random.random() < 0.8
                else self._random.randbytes(3)
            )
            data = data[:at] + new + data[at + self._random.randint(0, 12) :]
        path = self._folder / name
        path.write_bytes(data)
        try:
            read(path)
        except kind as error:
            said(error.next_step and name in str(error), f"{error!r} names no file or next step: {data!r}")
            return f"{name} refused"
        return f"{name} read"

    def _option(self) -> str:
        option = self._random.choice(OPTIONS)
        raw = self._joined(_OF_OPTIONS, 6)
        try:
            option.parse(raw)
        except (ValueError, TypeError) as error:
            said(str(error), f"--llmperf-{option.name} {raw!r}: an error without words")
            return "option refused"
        return "option read"

    def _marker(self) -> str:
        name = self._random.choice((*GATE_KINDS, "nonsense"))
        args = self._random.choices(_VALUES, k=self._random.choice((0, 0, 0, 1)))
        own = tuple(row.name for row in GATE_KINDS[name].keywords) if name in GATE_KINDS else _KEYWORDS
        keys = self._random.choices(own if self._random.random() < 0.8 else _KEYWORDS, k=self._random.randint(0, 3))
        kwargs = {key: self._random.choice(_VALUES) for key in keys}
        try:
            build(name, args, kwargs)
        except (ValueError, TypeError) as error:
            said(str(error), f"marker {name}{args}{kwargs}: an error without words")
            return "marker refused"
        return "marker read"

    def _address(self) -> str:
        url = self._joined(_OF_ADDRESSES, 6)
        if self._random.random() < 0.5:
            url = f"http://{url}"
        try:
            request = prepare(url, "/api/generate", b"{}", label="agent x")
        except MeasurementError as error:
            said(error.next_step, f"{url!r}: an error without a next step")
            return "address refused"
        said(request.payload.count(b"\r\n") == 6 and 0 < request.port < 65536, f"{url!r}: {request.payload!r}")
        return "address read"


def said(condition: object, words: str) -> None:
    """Raises AssertionError with these words where the condition does not hold."""
    if not condition:
        raise AssertionError(words)


def fuzz(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Tries `count` inputs; returns their outcomes and the faults."""
    counts: Counter[str] = Counter()
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        for index in range(count):
            inputs = Inputs(seed + index, Path(folder))
            try:
                counts[inputs.check()] += 1
            except Exception as error:
                broken.append(f"--inputs 1 --seed {seed + index}: {type(error).__name__}: {str(error)[:500]}")
    return counts, broken


def main() -> int:
    """Prints what became of the inputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many (default 1_000_000)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="of the first; each has its own")
    options = parser.parse_args()
    began_s = time.monotonic()
    counts, broken = fuzz(options.inputs, options.seed)
    for name, count in sorted(counts.items()):
        print(f"{name:24} {count:>9}")
    print(
        f"{options.inputs} inputs from seed {options.seed} in {time.monotonic() - began_s:.0f} s: {len(broken)} broke"
    )
    for words in broken[:20]:
        print(words)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
