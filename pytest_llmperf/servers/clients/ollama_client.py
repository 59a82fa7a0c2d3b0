"""Everything that is asked of an instance and not timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.request import getproxies_environment

import httpx

from pytest_llmperf.errors import ModelMissingError, ServerError, UnreachableError, printable
from pytest_llmperf.model import DIRECT, Access
from pytest_llmperf.model.model_names import full_name, same_model
from pytest_llmperf.net.http_channel import Channel, LateError, PackedError, TooLargeError
from pytest_llmperf.net.server_refusals import advice, error_of, refusal, server_text
from pytest_llmperf.net.untrusted_json import parsed_object
from pytest_llmperf.secret_values import SEALED

_POLL_S = 0.01
_QUICK_S = 10.0
_MOST_NAMES = 10
_SLOW = "look at the server's log, or raise --llmperf-start-timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that an instance has, or has loaded.

    Attributes:
        name: with its tag.
        digest: as the server gives it.
        size_bytes: of the model.
        size_vram_bytes: of what lies on the GPU; None when the server does not say (a model not loaded).
        family, parameter_size, quantization: the server's `details`; empty when absent.
        context_length: tokens a slot, of a loaded model; 0 when absent.
        expires_at: when a loaded model will leave, RFC 3339; empty when absent.
    """

    name: str
    digest: str = ""
    size_bytes: int = 0
    size_vram_bytes: int | None = None
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    context_length: int = 0
    expires_at: str = ""


class Control:
    """A client of one instance; use it in a `with`.

    Args:
        url: base address.
        label: for messages; default the address.
        timeout_s: most seconds for a request that may load a model.
        until_s: no request lasts longer, whatever it is; monotonic, s.
        access: how it is reached.
        transport: for tests.
        sleep: between polls.
    """

    KIND, PROBE, GET_MODEL = "an Ollama server", "/api/version", "ollama pull {model}, or "
    """For next steps: what it should be, the path that shows it, and how a model gets there."""

    def __init__(
        self,
        url: str,
        *,
        label: str = "",
        timeout_s: float = 120.0,
        until_s: float = math.inf,
        access: Access = DIRECT,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._label = f"{label} ({self.url})" if label else self.url
        self._timeout_s = timeout_s
        self._until_s = until_s
        self._sleep = sleep
        # the environment's proxies must not come between us and an instance
        self._proxy = access.proxy
        verify = False if self.url.startswith("http:") else access.tls()  # not needed certificates take 40 ms
        with SEALED:
            client = httpx.Client(
                base_url=self.url,
                trust_env=False,
                transport=transport,
                headers={b"accept-encoding": b"identity", **access.headers()},
                proxy=httpx.Proxy(access.proxy, headers=access.proxy_headers()) if access.proxy else None,
                verify=verify,
            )
        self._channel = Channel(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def version(self) -> str:
        """What `/api/version` says.

        Raises:
            ServerError: nothing answers there, or it is no Ollama.
        """
        version = self._json("GET", "/api/version").get("version")
        if not isinstance(version, str):
            raise ServerError(f"{self._label}: /api/version names no version; it is no Ollama server")
        return printable(version)

    def answers(self) -> bool:
        """Whether an Ollama answers there now."""
        try:
            self.version()
        except ServerError:
            return False
        return True

    def tags(self) -> tuple[ModelEntry, ...]:
        """The models that it has. Raises ServerError."""
        return _entries(self._json("GET", "/api/tags"))

    def ps(self) -> tuple[ModelEntry, ...]:
        """The models that it has loaded; none where it is too old to say. Raises ServerError."""
        return _entries(self._json("GET", "/api/ps", absent={}))

    def show(self, model: str) -> Mapping[str, Any]:
        """What `/api/show` says of a model.

        Raises:
            ModelMissingError: it does not have it.
            ServerError: otherwise.
        """
        return self._json("POST", "/api/show", {"model": model}, model=model)

    def digest(self, model: str) -> str:
        """The model's digest.

        Raises:
            ModelMissingError: it does not have it.
            ServerError: otherwise.
        """
        return self.find(model).digest

    def find(self, model: str) -> ModelEntry:
        """The model's entry among `tags`.

        Raises:
            ModelMissingError: it does not have it; the message names those that it has.
        """
        for entry in self.tags():
            if same_model(entry.name, model):
                return entry
        raise self._missing(model)

    def loaded(self, model: str) -> ModelEntry | None:
        """The model's entry among `ps`; None when it is not loaded now. Raises ServerError."""
        return next((entry for entry in self.ps() if same_model(entry.name, model)), None)

    def is_loaded(self, model: str) -> bool:
        """Whether the model is loaded now. Raises ServerError."""
        return self.loaded(model) is not None

    def preload(
        self, model: str, options: Mapping[str, object] | None = None, *, keep_alive: float | str | None = None
    ) -> None:
        """Loads the model with these options, and waits until it is loaded.

        Raises:
            ModelMissingError: it does not have it.
            ServerError: otherwise.
        """
        body: dict[str, object] = {"model": model, "prompt": "", "stream": False}
        if options:
            body["options"] = dict(options)
        if keep_alive is not None:
            body["keep_alive"] = keep_alive
        self._json("POST", "/api/generate", body, model=model, within_s=self._timeout_s)

    def unload(self, model: str, *, timeout_s: float = 30.0) -> None:
        """Asks for the model to be unloaded and waits until it is gone.

        Raises:
            ModelMissingError: it does not have it.
            ServerError: it is still loaded after `timeout_s` seconds.
        """
        self._json("POST", "/api/generate", {"model": model, "keep_alive": 0, "stream": False}, model=model)
        deadline_s = min(time.monotonic() + timeout_s, self._until_s)
        while self.is_loaded(model):
            if time.monotonic() > deadline_s:
                raise ServerError(
                    f"{self._label}: model {model!r} is still loaded {timeout_s:g} s after it was told to unload",
                    next_step="somebody else may be using it; see /api/ps",
                )
            self._sleep(_POLL_S)

    def send(self, method: str, path: str, *, within_s: float | None = None, **more: Any) -> httpx.Response:
        """Any other request; refusals become ServerError, statuses are left to the caller.

        Args:
            method: of the request.
            path: of the request.
            within_s: to the last byte of the answer, s; None = that of a request that is quickly answered.
            **more: `json` or `content`.
        """
        within_s = min(_QUICK_S if within_s is None else within_s, max(0.0, self._until_s - time.monotonic()))
        with SEALED, self._refusals(method, path, within_s):
            return self._channel.whole(method, path, within_s=within_s, **more)

    @contextmanager
    def _refusals(self, method: str, path: str, within_s: float) -> Iterator[None]:
        """What the transport raises, as a ServerError."""
        try:
            yield
        except LateError as error:
            late = f"the answer to {method} {path} does not end" if error.begun else f"no answer to {method} {path}"
            step = self._is_it() if within_s < self._timeout_s else _SLOW
            raise UnreachableError(
                f"{self._label}: {late} within {round(within_s, 2):g} s", next_step=f"{step}{self._unused_proxy()}"
            ) from error
        except TooLargeError as error:
            raise ServerError(
                f"{self._label}: {method} {path} answered with more than {error} bytes", next_step=self._is_it()
            ) from error
        except PackedError as error:
            raise ServerError(
                f"{self._label}: {method} {path} answered with packed bytes, though none were asked for",
                next_step="take compression out of the server or the proxy before it",
            ) from error
        except httpx.ConnectError as error:
            through = f" through the proxy {self._proxy}" if self._proxy else ""
            raise UnreachableError(
                f"{self._label}: nothing answers there{through} ({printable(str(error))})",
                next_step=f"is the server running? curl {self.url}{self.PROBE}{self._unused_proxy()}",
            ) from error
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"{self._label}: no answer to {method} {path} in time ({type(error).__name__})",
                next_step=f"{_SLOW}{self._unused_proxy()}",
            ) from error
        except httpx.ProxyError as error:  # it refused to make a tunnel
            raise self._proxy_refuses(method, path, str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise ServerError(
                f"{self._label}: {method} {path} failed ({type(error).__name__}: {printable(str(error))})",
                next_step=f"is it {self.KIND}? give http://host:port",
            ) from error

    def lines(self, method: str, path: str, *, quiet_s: float, within_s: float, **more: Any) -> Iterator[str]:
        """The lines of a streamed answer, as they come.

        Args:
            method: of the request.
            path: of the request.
            quiet_s: to the next line, s.
            within_s: to the end, s.
            **more: `json` or `content`.

        Raises:
            ServerError: refused, broken off, silent for too long, or a status that says so.
        """
        with SEALED, self._refusals(method, path, quiet_s):
            try:
                yield from self._channel.lines(method, path, quiet_s=quiet_s, within_s=within_s, **more)
            except httpx.HTTPStatusError as error:
                raise self._refused(method, path, error.response) from error

    def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        model: str = "",
        within_s: float | None = None,
        absent: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The object of an answer; `absent` where the server knows no such path."""
        more = {"json": body} if body else {}
        response = self.send(method, path, within_s=within_s, **more)
        if absent is not None and response.status_code == httpx.codes.NOT_FOUND:
            return absent
        if response.status_code == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            raise self._proxy_refuses(method, path, str(response.status_code))
        value = _object_of(response.content)
        if response.status_code == httpx.codes.NOT_FOUND and model and value is not None:
            raise self._missing(model)
        if not response.is_success:
            raise self._refused(method, path, response)
        if value is None:
            raise ServerError(
                f"{self._label}: {method} {path} answered {response.status_code} and no JSON object: "
                f"{server_text(response.text)!r}",
                next_step=self._is_it(),
            )
        if (said := error_of(value)) is not None:
            raise ServerError(
                f"{self._label}: {method} {path} answered {response.status_code}: {server_text(said)}",
                next_step=advice(said).next_step,
            )
        return value

    def _refused(self, method: str, path: str, response: httpx.Response) -> ServerError:
        """The error for a status that is no success."""
        said = refusal(response.status_code, dict(response.headers), response.content)
        step = said.advice.next_step
        if response.status_code == httpx.codes.NOT_FOUND:
            step = self._is_it()
        return ServerError(f"{self._label}: {method} {path} answered {said.words}", next_step=step)

    def _proxy_refuses(self, method: str, path: str, said: str) -> ServerError:
        login = "log in there with --llmperf-proxy-auth=basic:NAME, NAME being the environment variable that holds "
        login += "user:password"
        return ServerError(
            f"{self._label}: the proxy {self._proxy} refused {method} {path}: {printable(said)}",
            next_step=login if said.startswith("407") else "may the proxy connect to that address?",
        )

    def _unused_proxy(self) -> str:
        """Words where the environment names a proxy, and we were not told to use one."""
        named = {"http", "https", "all"} & set(getproxies_environment())
        return "; the environment's proxy is not used, but --llmperf-proxy is" if named and not self._proxy else ""

    def _missing(self, model: str) -> ModelMissingError:
        names = some_of(entry.name for entry in self.tags()) or "none at all"
        return ModelMissingError(
            f"{self._label} does not have model {model!r}; it has {names}",
            next_step=self.GET_MODEL.format(model=model) + "name one that it has with --llmperf-model",
        )

    def _is_it(self) -> str:
        """The next step where it does not answer as such a server would."""
        return f"is it {self.KIND}? curl {self.url}{self.PROBE} would say"


def some_of(names: Iterable[str], most: int = _MOST_NAMES) -> str:
    """Names for a message: the first of them, and how many more there are.

    >>> some_of(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    names = tuple(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def in_common(lists: Sequence[Sequence[str]]) -> list[str]:
    """The models that all lists name, by their names in the first one; there may be very many."""
    first, *others = lists
    known = [set(map(full_name, names)) for names in others]
    return [name for name in first if all(full_name(name) in names for names in known)]


def _entries(body: Mapping[str, Any]) -> tuple[ModelEntry, ...]:
    """The models of a list; what is not of Ollama's types is as if it were not said. Texts are for a terminal."""
    models = body.get("models")
    entries = []
    for item in models if isinstance(models, list) else ():
        if not isinstance(item, dict):
            continue
        details = item.get("details")
        details = details if isinstance(details, dict) else {}
        entries.append(
            ModelEntry(
                name=_text(item, "name") or _text(item, "model"),
                digest=_text(item, "digest"),
                size_bytes=_number(item, "size") or 0,
                size_vram_bytes=_number(item, "size_vram"),
                family=_text(details, "family"),
                parameter_size=_text(details, "parameter_size"),
                quantization=_text(details, "quantization_level"),
                context_length=_number(item, "context_length") or 0,
                expires_at=_text(item, "expires_at"),
            )
        )
    return tuple(entries)


def _object_of(content: bytes) -> dict[str, Any] | None:
    """The object of a body, or of its lines where a server streams all the same; None if it is none."""
    with suppress(ValueError):
        return parsed_object(content)
    merged: dict[str, Any] = {}
    try:
        for line in filter(bytes.strip, content.split(b"\n")):
            merged |= parsed_object(line)
    except ValueError:
        return None
    return merged or None


def _text(item: Mapping[str, Any], key: str) -> str:
    value = item.get(key)
    return printable(value) if isinstance(value, str) else ""


def _number(item: Mapping[str, Any], key: str) -> int | None:
    """A whole number, also where the server writes it as a float."""
    value = item.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None
