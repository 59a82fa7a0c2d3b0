"""Requests to an instance that are not timed, and the errors for what can go wrong with them."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Self
from urllib.request import getproxies_environment

import httpx

from pytest_llmperf.errors import ModelMissingError, ServerError, UnreachableError, printable
from pytest_llmperf.model import DIRECT, Access
from pytest_llmperf.model.model_names import same_model
from pytest_llmperf.net.http_channel import Channel, LateError, PackedError, TooLargeError
from pytest_llmperf.net.server_refusals import advice, error_of, refusal, server_text
from pytest_llmperf.net.untrusted_json import parsed_object
from pytest_llmperf.secret_values import SEALED
from pytest_llmperf.servers.clients.server_client import ModelEntry, some_of

_QUICK_S = 10.0
_SLOW = "look at the server's log, or raise --llmperf-start-timeout"


class ControlClient(ABC):
    """Sends requests that are not timed to one instance, and turns failures into errors; use it in a `with`.

    Args:
        url: base address.
        label: for messages; default the address.
        timeout_s: most seconds for a request that may load a model.
        until_s: no request lasts longer, whatever it is; monotonic, s.
        access: how it is reached.
        transport: for tests.
        sleep: waits between polls.
    """

    KIND: ClassVar[str]
    """The kind of server that should answer, for next steps."""
    PROBE: ClassVar[str]
    """A path that shows whether such a server answers."""
    GET_MODEL: ClassVar[str] = ""
    """How to get a model onto the server, the beginning of a next step."""

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
        # proxies from the environment must not be used
        self._proxy = access.proxy
        verify = False if self.url.startswith("http:") else access.tls()  # reading certificates takes 40 ms
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

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    @abstractmethod
    def tags(self) -> tuple[ModelEntry, ...]:
        """The models that the server has. Raises ServerError."""

    def find(self, model: str) -> ModelEntry:
        """The model's entry among `tags`.

        Raises:
            ModelMissingError: it does not have it; the message names those that it has.
        """
        for entry in self.tags():
            if same_model(entry.name, model):
                return entry
        raise self._missing(model)

    def send(self, method: str, path: str, *, within_s: float | None = None, **more: Any) -> httpx.Response:
        """Any other request; failures become ServerError, the caller checks the status.

        Args:
            method: the method of the request.
            path: the path of the request.
            within_s: to the last byte of the answer, s; None = 10 s.
            **more: `json` or `content`.
        """
        within_s = min(_QUICK_S if within_s is None else within_s, max(0.0, self._until_s - time.monotonic()))
        with SEALED, self._refusals(method, path, within_s):
            return self._channel.whole(method, path, within_s=within_s, **more)

    @contextmanager
    def _refusals(self, method: str, path: str, within_s: float) -> Iterator[None]:
        """Turns what the transport raises into a ServerError."""
        try:
            yield
        except LateError as error:
            late = f"the answer to {method} {path} did not end" if error.begun else f"no answer to {method} {path}"
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
                f"{self._label}: {method} {path} answered with compressed bytes, which were not requested",
                next_step="turn off compression in the server or in the proxy in front of it",
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
            method: the method of the request.
            path: the path of the request.
            quiet_s: time limit to the next line, s.
            within_s: time limit to the end, s.
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
        """The object of an answer; `absent` if the server does not know the path."""
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
                f"{self._label}: {method} {path} answered {response.status_code} without a JSON object: "
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
        """The error for a status that is not a success."""
        said = refusal(response.status_code, dict(response.headers), response.content)
        step = said.advice.next_step
        if response.status_code == httpx.codes.NOT_FOUND:
            step = self._is_it()
        return ServerError(f"{self._label}: {method} {path} answered {said.words}", next_step=step)

    def _proxy_refuses(self, method: str, path: str, said: str) -> ServerError:
        login = "log in with --llmperf-proxy-auth=basic:NAME, NAME being the environment variable that holds "
        login += "user:password"
        return ServerError(
            f"{self._label}: the proxy {self._proxy} refused {method} {path}: {printable(said)}",
            next_step=login if said.startswith("407") else "is the proxy allowed to connect to that address?",
        )

    def _unused_proxy(self) -> str:
        """A hint if the environment names a proxy, but the settings do not."""
        named = {"http", "https", "all"} & set(getproxies_environment())
        return (
            "; the environment's proxy is not used: give it with --llmperf-proxy" if named and not self._proxy else ""
        )

    def _missing(self, model: str) -> ModelMissingError:
        names = some_of(entry.name for entry in self.tags()) or "no model"
        return ModelMissingError(
            f"{self._label} does not have model {model!r}; it has {names}",
            next_step=self.GET_MODEL.format(model=model) + "name a model that it has with --llmperf-model",
        )

    def _is_it(self) -> str:
        """The next step if it does not answer like such a server."""
        return f"is it {self.KIND}? check with: curl {self.url}{self.PROBE}"


def _object_of(content: bytes) -> dict[str, Any] | None:
    """The object in a body, or merged from its lines if the server streams nevertheless; None if it is none."""
    with suppress(ValueError):
        return parsed_object(content)
    merged: dict[str, Any] = {}
    try:
        for line in filter(bytes.strip, content.split(b"\n")):
            merged |= parsed_object(line)
    except ValueError:
        return None
    return merged or None
