"""Secrets do not show themselves, and errors leave without the frames that hold them."""

import copy
import json
import pickle
import traceback

import pytest

from pytest_llmperf.model import Access
from pytest_llmperf.secret_values import SEALED, Hidden, Secret
from pytest_llmperf.servers.clients.ollama_client import OllamaClient

TOKEN = "c4nary-" + "q" * 20


def test_a_secret_hides_itself_and_is_still_bytes() -> None:
    """However it is shown, alone or inside of others; joined with other bytes it is what it is."""
    secret = Secret(TOKEN.encode())
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>5}", f"{[secret]}", f"{({'a': secret},)}"):
        assert "c4nary" not in text
    assert b"x" + secret == b"x" + TOKEN.encode()
    assert bytes(secret) is secret
    for dump in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            dump(secret)
    assert "c4nary" not in repr(Hidden(TOKEN=TOKEN))


class Broken:
    """A connection that ends when the first bytes are sent.

    Attributes:
        asked: the token that was sent, and whether something was for a proxy.
    """

    asked: tuple[bytes, bool] = (b"", False)

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        Broken.asked = (buffer.partition(b"Bearer ")[2].partition(b"\r")[0], b"Proxy-Authorization: " in buffer)
        raise self._error

    def get_extra_info(self, _: str) -> None:
        return None

    def close(self) -> None:
        pass


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
@pytest.mark.parametrize("error", [pytest.fail.Exception("Timeout"), KeyboardInterrupt(), ValueError("x")], ids=repr)
def test_no_frame_of_a_request_leaves(monkeypatch: pytest.MonkeyPatch, proxy: str, error: BaseException) -> None:
    """Whatever ends a request in the middle: no local variable of any frame has the login, nor any before it."""
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    monkeypatch.setenv("MY_LOGIN", f"me:{TOKEN}")
    monkeypatch.setattr("httpcore._backends.sync.SyncBackend.connect_tcp", lambda *_, **__: Broken(error))
    access = Access(auth="bearer:MY_TOKEN", proxy=proxy, proxy_auth="basic:MY_LOGIN" if proxy else "")
    with OllamaClient("http://127.0.0.1:9", access=access) as control, pytest.raises(BaseException) as caught:  # noqa: PT011
        control.version()
    assert Broken.asked == (TOKEN.encode(), bool(proxy))
    each: BaseException | None = caught.value
    while each is not None:
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename != __file__:
                assert "c4nary" not in repr(frame.f_locals), frame.f_code
        each = each.__cause__ or each.__context__


def test_a_seal_keeps_the_error() -> None:
    """Its type, its words and what led to it; not the frames."""

    def inside() -> None:
        token = TOKEN
        try:
            raise OSError(len(token))
        except OSError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as caught, SEALED:
        inside()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.__traceback__ is None
    assert "inside" not in [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
