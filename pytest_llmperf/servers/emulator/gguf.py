"""Reads the header of a GGUF file: what the model is, without its weights."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import ServerError
from pytest_llmperf.files.atomic_write import is_file

_MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_DEEPEST = 8  # arrays in arrays; no model has any

_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    32: "BF16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The part of the header that the emulator uses.

    Attributes:
        architecture: e.g. `gemma3`.
        name: the name given by its makers, or empty.
        quantization: e.g. `Q4_K_M`; `unknown` for types newer than this table.
        context_length: tokens; 0 when the file does not say.
        parameters: number of weights.
        template: the chat template, or empty.
    """

    architecture: str
    name: str
    quantization: str
    context_length: int
    parameters: int
    template: str


def read_header(path: Path) -> Header:
    """Reads the header of a GGUF file (versions 2 and 3).

    Raises:
        ServerError: the file is missing, is not a GGUF file, or is damaged.
    """
    next_step = "give the path of a GGUF file to --llmperf-gguf, or leave it out for the packaged model"
    if not is_file(path):
        raise ServerError(f"model file {path} does not exist", next_step=next_step)
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ServerError(f"model file {path} is not a GGUF file (its first bytes say so)", next_step=next_step)
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(data).header()
        except (struct.error, ValueError, LookupError, OverflowError) as error:
            raise ServerError(
                f"model file {path} is a GGUF file with a header that cannot be read ({error!r})", next_step=next_step
            ) from None


class _Reader:
    """Walks the header; arrays are passed over."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4

    def header(self) -> Header:
        version, tensors, keys = self._take("<IQQ")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version}")
        values: dict[str, object] = {}
        for _ in range(keys):
            key = self._text()
            (kind,) = self._take("<I")
            values[key] = self._value(kind)
        parameters = sum(self._tensor_size() for _ in range(tensors))
        architecture = str(values["general.architecture"])
        return Header(
            architecture=architecture,
            name=str(values.get("general.name", "")),
            quantization=_FILE_TYPES.get(int(str(values.get("general.file_type", -1))), "unknown"),
            context_length=int(str(values.get(f"{architecture}.context_length", 0))),
            parameters=parameters,
            template=str(values.get("tokenizer.chat_template", "")),
        )

    def _take(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values

    def _text(self) -> str:
        (length,) = self._take("<Q")
        if length > len(self._data) - self._at:
            raise ValueError("a text longer than the file")
        text = self._data[self._at : self._at + length].decode("utf-8", "replace")
        self._at += length
        return text

    def _value(self, kind: int, depth: int = 0) -> object:
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY:
            return self._take("<" + _SCALARS[kind])[0]
        item, count = self._take("<IQ")
        if item in _SCALARS:
            self._at += struct.calcsize("<" + _SCALARS[item]) * count
            return None
        if item == _TEXT:
            data, at, unpack = self._data, self._at, struct.Struct("<Q").unpack_from
            for _ in range(count):  # a vocabulary: the only long walk, so kept tight
                at += 8 + unpack(data, at)[0]
            self._at = at
            return None
        if depth == _DEEPEST:
            raise ValueError(f"arrays nested more than {_DEEPEST} deep")
        for _ in range(count):
            self._value(item, depth + 1)
        return None

    def _tensor_size(self) -> int:
        self._text()
        (dimensions,) = self._take("<I")
        size = 1
        for length in self._take(f"<{dimensions}Q"):
            size *= length
        self._take("<IQ")
        return size
