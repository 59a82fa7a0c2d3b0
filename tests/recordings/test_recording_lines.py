"""The format of recordings: written recordings are read back; errors name the line and the next step."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.errors import UsageError
from pytest_llmperf.recordings import recording_file
from pytest_llmperf.recordings.recorded_requests import ENDS, RecordedRequest, Recording
from pytest_llmperf.recordings.recording_file import RecordingTarget, read_recording, write_recording
from pytest_llmperf.recordings.recording_lines import recording_of, text_of

PLACE = Path("team.jsonl")
MUCH = 10**9

TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PAUSES = st.floats(0, 86_400_000)
COUNTS = st.integers(0, 10**9)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    agents = tuple(draw(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=3, unique=True)))
    names = [*agents, *draw(st.lists(st.sampled_from(agents), max_size=5))]
    requests = []
    for position, name in enumerate(names):
        kept = draw(st.booleans())
        requests.append(
            RecordedRequest(
                id=position + 1,
                agent=name,
                path=draw(st.sampled_from(["/api/chat", "/v1/responses", "/x"])),
                after=tuple(draw(st.sets(st.integers(1, position)))) if position else (),
                pause_ms=draw(PAUSES),
                body=draw(st.dictionaries(TEXTS, JSON, max_size=4)) if kept else None,
                body_bytes=0 if kept else draw(st.integers(1, 10**9)),
                body_sha256="" if kept else draw(st.sampled_from(["", "0123456789abcdef" * 4])),
                stream=not kept and draw(st.booleans()),
                input_tokens=draw(COUNTS),
                output_tokens=draw(COUNTS),
                e2e_ms=draw(PAUSES),
                done_reason=draw(TEXTS),
            )
        )
    return Recording(
        agents=agents,
        requests=tuple(requests),
        model=draw(TEXTS),
        recorded_at=draw(TEXTS),
        source=draw(TEXTS),
        redacted=tuple(draw(st.lists(TEXTS, max_size=2))),
        end=draw(st.sampled_from(list(ENDS))),
    )


def text(recording: Recording) -> str:
    written, left_out = text_of(recording, most_bytes=MUCH)
    assert left_out == 0
    return written


@settings(max_examples=50)
@given(recordings())
def test_what_is_written_is_read_back(recording: Recording) -> None:
    """With every text that JSON can hold, in a file with or without a last line feed, of Windows, too."""
    written = text(recording)
    assert recording_of(PLACE, written) == recording
    assert recording_of(PLACE, written.rstrip("\n")) == recording
    assert recording_of(PLACE, written).sha256 == recording.sha256


@settings(max_examples=50)
@given(recordings(), st.integers(0, 2000))
def test_a_size_limit_keeps_what_fits(recording: Recording, most_bytes: int) -> None:
    """The beginning of the recording, which can be read, and says that it is not all."""
    written, left_out = text_of(recording, most_bytes=most_bytes)
    kept = len(recording.requests) - left_out
    if not kept:
        return
    assert len(written.encode("utf-8", "backslashreplace")) <= most_bytes
    read = recording_of(PLACE, written)
    assert read.requests == recording.requests[:kept]
    assert read.end == ("size limit" if left_out else recording.end)


@settings(max_examples=50)
@given(recordings(), st.data())
def test_a_torn_recording_is_an_error(recording: Recording, data: st.DataObject) -> None:
    """Wherever it was cut: never a shorter recording."""
    written = text(recording).rstrip("\n")
    cut = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(UsageError, match=r"team\.jsonl(, line \d+: | is empty)") as caught:
        recording_of(PLACE, written[:cut])
    assert caught.value.next_step


@settings(max_examples=50)
@given(recordings(), st.data())
def test_a_changed_character_is_read_or_an_error(recording: Recording, data: st.DataObject) -> None:
    """Any manual change of a line is accepted or raises a UsageError with its place."""
    written = text(recording)
    at = data.draw(st.integers(0, len(written) - 1))
    changed = written[:at] + data.draw(st.text(max_size=3)) + written[at + data.draw(st.integers(0, 3)) :]
    fault = ""
    try:
        recording_of(PLACE, changed)
    except UsageError as error:
        fault = str(error)
    assert not fault or ("team.jsonl" in fault and "\n  next: " in fault)


@settings(max_examples=50)
@given(recordings())
def test_the_hash_is_that_of_the_work(recording: Recording) -> None:
    """Times, counts and the day do not change it; another pause does."""
    first, *rest = recording.requests
    noted = RecordedRequest(**{**_fields(first), "e2e_ms": 5.5, "done_reason": "x"})
    assert Recording(agents=recording.agents, requests=(noted, *rest), model=recording.model).sha256 == recording.sha256
    slower = RecordedRequest(**{**_fields(first), "pause_ms": first.pause_ms / 2 + 1})
    if round(slower.pause_ms, 3) != round(first.pause_ms, 3):
        changed = Recording(agents=recording.agents, requests=(slower, *rest), model=recording.model)
        assert changed.sha256 != recording.sha256


def _fields(request: RecordedRequest) -> dict:
    return {name: getattr(request, name) for name in RecordedRequest.__dataclass_fields__}


HEADER = '{"llmperf_recording": 1, "agents": ["writer"]}'
REQUEST = '{"id": 1, "agent": "writer", "path": "/api/chat", "body": {"messages": []}}'
END = '{"end": "complete"}'


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(REQUEST), **fields})


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "is empty, wanted a recording"),
        (["test = 1"], "line 1: the file is not a recording"),
        (["[]"], "line 1: the file is not a recording: it is not a JSON object"),
        (['{"a": 1}', END], "line 1: the file is not a recording: it has no llmperf_recording"),
        ([HEADER.replace("1", "2"), REQUEST, END], "line 1: the recording has version 2; this release reads up to 1"),
        ([HEADER.replace("1", "true"), END], "line 1: llmperf_recording is True, wanted the version"),
        ([HEADER.replace("1", "0"), END], "line 1: llmperf_recording is 0, wanted the version"),
        ([HEADER.replace('["writer"]', "[]"), REQUEST, END], "line 1: agents is empty"),
        ([HEADER.replace('"writer"', '"writer", "writer"'), REQUEST, END], "line 1: agents holds 'writer' twice"),
        ([HEADER.replace('"writer"', '"writer", "critic"'), REQUEST, END], "line 1: agent 'critic' has no request"),
        ([HEADER.replace("}", ', "modle": "x"}'), REQUEST, END], "line 1: modle: unknown key, .*mean 'model'"),
        ([HEADER, REQUEST], "line 2: the line that ends the recording is missing: the file is torn"),
        ([HEADER, REQUEST, '{"id": 2, "ag'], "line 3: the line is cut off: the file is torn"),
        ([HEADER, '{"id": 2, "ag', END], "line 2: it is not JSON that can be read"),
        ([HEADER, "", REQUEST, "", '{"end": "compleet"}'], "line 5: end is 'compleet', .*mean 'complete'"),
        ([HEADER, REQUEST, '{"end": []}'], r"line 3: end is \[\], wanted one of complete"),
        ([HEADER, REQUEST, '{"end": "complete", "x": 1}'], "line 3: x: unknown key, wanted only end"),
        ([HEADER, REQUEST, END, REQUEST], "line 4: there is a line after the one that ends the recording"),
        ([HEADER, REQUEST, REQUEST, END], "line 3: id 1 is there before"),
        ([HEADER, changed(agnet="x"), END], "line 2: agnet: unknown key, .*mean 'agent'"),
        ([HEADER, changed(agent="writter"), END], "line 2: agent is 'writter', .*mean 'writer'"),
        ([HEADER, changed(id="1"), END], "line 2: id: got a text, wanted a whole number"),
        ([HEADER, changed(id=True), END], "line 2: id: got True, wanted a whole number"),
        ([HEADER, changed(id=0), END], "line 2: id is 0, wanted 1 or more"),
        ([HEADER, changed(after=[3]), END], "line 2: after has 3, which is no request before this one"),
        ([HEADER, changed(after=[1]), END], "line 2: after has 1, which is no request before this one"),
        ([HEADER, changed(pause_ms=-1), END], "line 2: pause_ms is -1.0, wanted 0 or more"),
        ([HEADER, changed(pause_ms=1e9), END], r"line 2: pause_ms is 1e\+09, wanted at most"),
        ([HEADER, changed(pause_ms=float("nan")), END], "line 2: .*NaN is not JSON"),
        ([HEADER, changed(path="api/chat"), END], "line 2: path is not the path of an address"),
        ([HEADER, changed(path="/api/chat\r\nX: y"), END], "line 2: path is not the path of an address"),
        ([HEADER, changed(body=[]), END], "line 2: body: got a list"),
        ([HEADER, changed(body=None), END], "line 2: there is neither a body nor its size"),
        ([HEADER, changed(body_bytes=3), END], "line 2: body is given, and also"),
        ([HEADER, changed(body=None, body_bytes=3, body_sha256="x"), END], "line 2: body_sha256 is no hash"),
        ([HEADER, "<<<<<<< ours", REQUEST, "=======", REQUEST, ">>>>>>> theirs", END], "line 2: a merge conflict"),
        ([HEADER, '{"id": ' + "[" * 100_000, END], "line 2: it is not JSON that can be read"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(lines: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=rf"team\.jsonl.*{said}") as caught:
        recording_of(PLACE, "\n".join(lines))
    assert caught.value.next_step


@pytest.mark.parametrize(
    "data",
    ["\ufeff{}\n".encode(), b"{}\r\n", b"{}", b"\n{}\n\n"],
    ids=["bom", "windows", "no last line feed", "blank lines"],
)
def test_what_an_editor_does_to_a_file_is_no_fault(tmp_path: Path, data: bytes) -> None:
    whole = "\n".join((HEADER, REQUEST, END)).encode()
    path = tmp_path / "team.jsonl"
    path.write_bytes(data.replace(b"{}", whole.replace(b"\n", b"\r\n") if b"\r" in data else whole))
    assert len(read_recording(path).requests) == 1


def test_what_is_no_text_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "team.jsonl"
    path.write_bytes("\n".join((HEADER, REQUEST.replace("chat", "chät"), END)).encode("latin-1"))
    with pytest.raises(UsageError, match="line 2: it is not UTF-8") as caught:
        read_recording(path)
    assert caught.value.next_step == "save it as UTF-8"


def test_what_is_no_file_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO is not waited for, and a huge file is not read."""
    with pytest.raises(UsageError, match="No such file"):
        read_recording(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="Is a directory"):
        read_recording(tmp_path)
    os.mkfifo(tmp_path / "fifo.jsonl")
    with pytest.raises(UsageError, match="it is a FIFO, wanted a plain file"):
        read_recording(tmp_path / "fifo.jsonl")
    monkeypatch.setattr(recording_file, "MOST_READ_BYTES", 40)
    (tmp_path / "huge.jsonl").write_text("\n".join((HEADER, REQUEST, END)))
    with pytest.raises(UsageError, match="is larger than"):
        read_recording(tmp_path / "huge.jsonl")


def test_a_recording_replaces_the_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "team.jsonl"
    recording = recording_of(PLACE, "\n".join((HEADER, REQUEST, END)))
    assert write_recording(RecordingTarget(file=path), recording) == 0
    assert read_recording(path) == recording
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"cannot be written: its first request is larger than 1e-05 MB"):
        write_recording(RecordingTarget(file=path, max_mb=1e-5), recording)
    with pytest.raises(UsageError, match="cannot be written"):
        write_recording(RecordingTarget(file=path / "below.jsonl"), recording)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("wrong", [{"redact": "content"}, {"redact": [""]}, {"max_mb": 0}, {"max_mb": float("nan")}])
def test_a_target_says_what_is_wrong_with_it(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*, wanted"):
        RecordingTarget(file="x", **wrong)
