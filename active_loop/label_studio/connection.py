"""Calls to one Label Studio: what may be repeated is, what may not is not, and each error is one plain sentence.

A read is repeated a few times while the server is only passingly away; a write is made once, because it may have
worked although no reply came. The token is never shown. The SDK and the HTTP client are imported on first use.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from ..errors import LabelingError, TokenError

_READ_PAUSES_S: Final = (0.2, 1.0)

T = TypeVar("T")


class Connection:
    """One server and one token: calls through the SDK, with its errors in plain words."""

    def __init__(self, url: str, token: str, timeout_s: float, sleep: Callable[[float], None]) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self.sleep = sleep

    @property
    def token_is_personal(self) -> bool:
        """Whether it is a personal access token, which the SDK exchanges for one of five minutes; else a legacy one."""
        return self._token.count(".") == 2

    @cached_property
    def _sdk(self) -> Any:
        import label_studio_sdk

        if not self._token:
            raise TokenError(f"no token for Label Studio at {self.url}; take one from Account & Settings there.")
        if not (self._token.isascii() and self._token.isprintable()) or " " in self._token:
            raise TokenError(
                f"the token for Label Studio at {self.url} has a character that no token has; copy it again from "
                "Account & Settings there."
            )
        make: Any = label_studio_sdk.LabelStudio
        http = http_client(self.url, self._timeout_s)
        return make(base_url=self.url, api_key=self._token, httpx_client=http, max_retries=0)

    def read(self, doing: str, call: Callable[[Any], T]) -> T:
        """What `call` returns; repeated twice with a pause while the server is only passingly away."""
        for pause_s in _READ_PAUSES_S:
            with contextlib.suppress(PassingError):
                return self.write(doing, call)
            self.sleep(pause_s)
        return self.write(doing, call)

    def write(self, doing: str, call: Callable[[Any], T]) -> T:
        """What `call` returns; not repeated, because it may have worked although no reply came.

        Only what a personal token is refused for is done once more, with a new token of five minutes: nothing was done
        then, and the old one may have ended by the server's clock before it did by ours.
        """
        try:
            return self._call(doing, call)
        except TokenError:
            if not self.token_is_personal or self.__dict__.pop("_sdk", None) is None:
                raise
        return self._call(doing, call)

    def _call(self, doing: str, call: Callable[[Any], T]) -> T:
        import httpx
        from label_studio_sdk.core.api_error import ApiError
        from label_studio_sdk.core.parse_error import ParsingError

        try:
            return call(self._sdk)
        except (ApiError, ParsingError) as error:
            raise refusal(self.url, doing, error.status_code, error.body) from error
        except json.JSONDecodeError as error:  # only the SDK's renewal of a personal token lets this one through
            raise PassingError(
                f"cannot {doing} at {self.url}: the token cannot be renewed, no JSON comes back."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unreachable(self.url, error, self._timeout_s) from error


class PassingError(LabelingError):
    """The server is away or overloaded: the same call may work in a moment."""


class MissingError(LabelingError):
    """What was asked for does not exist there."""


def unreachable(url: str, error: Exception, timeout_s: float) -> LabelingError:
    """The error for a server that did not answer, from what the HTTP client raised."""
    import httpx

    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return LabelingError(f'"{url}" is no address of a Label Studio: {error}. Give one like http://localhost:8080.')
    hint = "Is it running? `active-loop doctor` checks the whole set-up."
    if isinstance(error, httpx.ConnectTimeout | httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return LabelingError(f"cannot reach Label Studio at {url}: no answer within {timeout_s:g} s. {hint}")
    refused = isinstance(error, httpx.ConnectError) and "refused" in str(error).lower()
    why = "connection refused" if refused else str(error).rstrip(".") or type(error).__name__
    return PassingError(f"cannot reach Label Studio at {url}: {why}. {hint}")


def refusal(url: str, doing: str, status: int | None, body: object) -> LabelingError:
    """The error for a server that answered with something else than what was asked for."""
    what = f"cannot {doing} at {url}: Label Studio answers {status}, {_detail(body)}"
    if status == 401:
        return TokenError(
            f"Label Studio at {url} refuses our token ({_detail(body).rstrip('.')}): take a new one from Account & "
            "Settings there (or, if it is a legacy one, have these allowed), try it with `active-loop doctor`, and run "
            "again."
        )
    if status == 404:
        return MissingError(f"{what} Was it deleted there?")
    return PassingError(what) if status is not None and (status == 429 or status >= 500) else LabelingError(what)


def _detail(body: object) -> str:
    """What a reply says, in one line of at most 300 characters; an HTML page is only named."""
    if isinstance(body, Mapping):
        errors = body.get("validation_errors")
        text = f"{body.get('detail', '')} {json.dumps(errors, ensure_ascii=False) if errors else ''}".strip()
    else:
        text = str(body or "").strip()
    if text.startswith("<"):
        return "with an HTML page; is this the address of a Label Studio?"
    text = " ".join(text.split())
    return f"{text[:300] or 'without a word'}{'' if text.endswith('.') else '.'}"


def http_client(url: str, timeout_s: float) -> Any:
    """An HTTP client without keep-alive (41 ms a call faster against its server), past proxies for this machine."""
    import httpx

    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=timeout_s, limits=limits, follow_redirects=True, trust_env=not _is_loopback(url))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
