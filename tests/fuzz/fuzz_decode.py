"""Random, valid and damaged answers through the decoder: `python -m tests.fuzz.fuzz_decode --bytes 10_000_000`.

Every stream must end in an answer that equals the plain reference's, or in one MeasurementError; a valid one must end
in the answer it was made of. Anything else, and a stream that takes far longer for its size than the others, is printed
with the way to see it again, and the exit code is 1. Where atheris is installed, the bytes come from libFuzzer, guided
by coverage, and only the reference judges; `--engine own` takes the own mutator all the same.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from pytest_llmperf.errors import MeasurementError
from pytest_llmperf.measure.decoding.decode import decode
from pytest_llmperf.measure.wire.arrival import Piece
from pytest_llmperf.measure.wire.exchange import Exchange
from tests.fuzz import streams
from tests.fuzz.reference import Answer, Malformed, reference

STEP_NS = 10
HANG_S = 30.0
SLOW_TIMES, SLOW_S = 50, 0.25
"""A stream is slow if it takes more than SLOW_TIMES the median for its size, and more than SLOW_S seconds of CPU."""


class Disagreement(Exception):
    """The decoder found something else than the reference, or broke."""


def exchange_of(pieces: list[bytes]) -> Exchange:
    """Pieces arriving `STEP_NS` apart."""
    held = tuple(Piece(STEP_NS * index, STEP_NS * index, piece) for index, piece in enumerate(pieces))
    return Exchange(sent_ns=-1, pieces=held, source="read", label="fuzz")


def found_by(decoder: Callable[[Exchange], object], pieces: list[bytes]) -> Answer | str:
    """What a decoder says: an answer, or the text of its one kind of error.

    Raises:
        Disagreement: it raised something else, or an error that does not keep the bytes or say where.
    """
    try:
        timing = decoder(exchange_of(pieces))
    except MeasurementError as error:
        if error.received != b"".join(pieces) or not error.next_step or len(str(error)) > 25_000:
            raise Disagreement(f"an error without its bytes or next step: {str(error)[:300]!r}") from error
        text = str(error)
        if not any(word in text for word in ("byte", "answered", "compressed")):
            raise Disagreement(f"an error that does not say where: {text!r}") from error
        text.encode()
        return text
    except Exception as error:
        raise Disagreement(f"{type(error).__name__}: {str(error)[:300]}") from error
    return Answer(
        text=timing.text,
        thoughts=timing.reasoning,
        count=timing.eval_count,
        prompt_count=timing.prompt_eval_count,
        reason=timing.done_reason,
        arrivals=tuple(moment // STEP_NS for moment in timing.arrivals_ns),
        thought_arrivals=tuple(moment // STEP_NS for moment in timing.reasoning_ns),
        done=timing.done_ns // STEP_NS,
        merged=timing.merged,
        first_merged=timing.first_merged,
    )


def check(
    pieces: list[bytes], truth: Answer | None = None, decoder: Callable[[Exchange], object] = decode
) -> tuple[str, float]:
    """Decodes twice and compares: `answer` or `error`, and the decoder's CPU time, s.

    Raises:
        Disagreement: the two results differ from each other, or from the true answer if it is known.
    """
    begun_s = time.process_time()
    decoded = found_by(decoder, pieces)
    took_s = time.process_time() - begun_s
    try:
        wanted: Answer | str = reference(pieces)
    except (Malformed, ValueError, RecursionError):
        wanted = "malformed"
    if truth is not None and not decoded == wanted == truth:
        raise Disagreement(f"found {decoded!r}, the reference {wanted!r}, the truth is {truth!r}")
    if isinstance(decoded, Answer) and decoded != wanted:
        raise Disagreement(f"found {decoded!r}, the reference {wanted!r}")
    return "error" if isinstance(decoded, str) else "answer", took_s


def stream_of(seed: int, index: int) -> tuple[str, list[bytes], Answer | None]:
    """The stream of this number: how it was mutated, its pieces, and the true answer if the stream is whole."""
    rng = Random(f"{seed}:{index}")
    way = rng.choice(("valid", "valid", "body", "body", "value", "value", "raw", "raw", "both", "noise"))
    if way == "noise":
        prefix = rng.choice((b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\nContent-Type: text/"))
        return way, streams.pieces_of(rng, prefix + rng.randbytes(rng.randrange(3000))), None
    made = streams.body(rng)
    damage = {"body": streams.damaged, "both": streams.damaged, "value": streams.swapped}.get(way)
    data = damage(rng, made.data) if damage else made.data
    raw, places = streams.framed(rng, made.kind, data, delimited=made.delimited)
    if way in ("raw", "both"):
        raw = streams.damaged(rng, raw)
    pieces = streams.pieces_of(rng, raw)
    return way, pieces, streams.truth_of(made, places, pieces) if way == "valid" else None


def again_s(seed: int, index: int, decoder: Callable[[Exchange], object]) -> float:
    """The decoder's CPU time for this stream, s, measured again: a stalled machine inflates the first time."""
    _, pieces, truth = stream_of(seed, index)
    return check(pieces, truth, decoder)[1]


def run(
    total_bytes: int, seed: int, decoder: Callable[[Exchange], object] = decode, say: Callable[[str], None] = print
) -> int:
    """Runs the built-in mutator until `most_bytes` bytes have been decoded; returns the number of faults."""
    results: Counter[str] = Counter()
    costs: list[tuple[float, float, int]] = []  # s for a byte or so, s, index
    done_bytes = index = faults = 0
    while done_bytes < total_bytes:
        way, pieces, truth = stream_of(seed, index)
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            result, took_s = check(pieces, truth, decoder)
        except Disagreement as error:
            faults += 1
            say(f"FAULT in stream {index} ({way}), see it again with --seed {seed} --only {index}: {error}")
        else:
            results[f"{'whole' if way == 'valid' else 'damaged'}: {result}"] += 1
            size = sum(map(len, pieces))
            costs.append((took_s / (size + 50 * len(pieces) + 1000), took_s, index))  # h11 works by piece too
        finally:
            faulthandler.cancel_dump_traceback_later()
        done_bytes += sum(map(len, pieces))
        index += 1
    median = statistics.median(cost for cost, _, _ in costs) if costs else 0.0
    for cost, took_s, slow in costs:
        if cost > SLOW_TIMES * median and took_s > SLOW_S and again_s(seed, slow, decoder) > SLOW_S:
            faults += 1
            say(f"SLOW: stream {slow} took {took_s:.2f} s, {cost / median:.0f} times the median for its size")
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(results.items()))
    worst = max((took_s for _, took_s, _ in costs), default=0)
    say(f"{index} streams, {done_bytes} bytes: {kinds}; {faults} faults; slowest stream {worst * 1000:.0f} ms")
    return faults


def run_atheris(total_bytes: int) -> None:
    """Bytes from libFuzzer, which starts from valid answers; leaves the process itself, as atheris does."""
    import atheris

    kinds = ("application/x-ndjson", "text/event-stream", "application/json", "")
    corpus = tempfile.TemporaryDirectory(prefix="llmperf-fuzz-")
    for index in range(300):
        made = streams.body(Random(index))
        (Path(corpus.name) / str(index)).write_bytes(bytes([kinds.index(made.kind), index % 256]) + made.data)
    results: Counter[str] = Counter()
    done_bytes = 0

    def one(data: bytes) -> None:
        nonlocal done_bytes
        rng = Random(data[:2])  # the first byte says how, the second how it is cut, the others are the body
        raw = streams.framed(rng, kinds[data[0] % 4], data[2:])[0] if data and data[0] < 128 else data[2:]
        result, _ = check(streams.pieces_of(rng, raw))
        results[result] += 1
        done_bytes += len(raw)
        if done_bytes >= total_bytes:
            print(f"{results.total()} streams, {done_bytes} bytes: {dict(results)}; 0 faults", flush=True)
            corpus.cleanup()
            os._exit(0)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], "-max_len=4000", "-len_control=0", "-timeout=30", "-seed=1", corpus.name], one)
    atheris.Fuzz()


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bytes", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one stream of the own mutator, by its number")
    parser.add_argument("--engine", choices=("auto", "own", "atheris"), default="auto")
    args = parser.parse_args()
    if args.only is not None:
        way, pieces, truth = stream_of(args.seed, args.only)
        print(way, b"".join(pieces), [len(piece) for piece in pieces], sep="\n")
        print(check(pieces, truth))
        return 0
    if args.engine == "atheris" or (args.engine == "auto" and importlib.util.find_spec("atheris")):
        run_atheris(args.bytes)
    return 1 if run(args.bytes, args.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
