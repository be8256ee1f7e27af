"""Who is let in: the token of people, the secret of Label Studio, and the names this server answers to.

A server on loopback is reached by every program on the machine, browsers included; a page elsewhere can make a
browser call it under a name of its own (DNS rebinding), so on loopback only the machine's own names are answered.
Bound to anything else, whoever reads must bring the token. Nothing here knows Flask or reads a request.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from active_loop.errors import ConfigError

OPEN = frozenset({"health", "webhook", "static", "ml.health", "ml.setup", "ml.predict", "ml.webhook", "ml.versions"})
"""Endpoints that need no token: they show nothing of the loop but its name, or have a secret of their own."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address (no port, no brackets) means this machine and is reached from it alone.

    >>> [is_loopback(host) for host in ("127.0.0.1", "LOCALHOST", "::1", "0.0.0.0", "localhost.evil.example")]
    [True, True, True, False, False]
    """
    name = host.lower().removesuffix(".")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(authority: str) -> str:
    """The host in `host`, `host:port` or `[address]:port`, lower case; empty if there is none to be made out.

    >>> host_of("127.0.0.1:8765"), host_of("[::1]:8765"), host_of("]:80")
    ('127.0.0.1', '::1', '')
    """
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Access:
    """What a request must bring. Raises `ConfigError` for an empty secret or token, which everybody would know."""

    secret: str
    token: str | None = None
    public_url: str = ""
    ml_key: str = ""

    def __post_init__(self) -> None:
        if not self.secret:
            raise ConfigError("the webhook's secret is empty: give a long random one.")
        if self.token == "":
            raise ConfigError("the dashboard's token is empty: give a long random one, or none at all on loopback.")

    def answers_to(self, authority: str, *, bound: str, endpoint: str | None) -> bool:
        """Whether a server bound to `bound` answers a request whose Host header is `authority`.

        Under the name in `public_url` Label Studio may call even a server on loopback (through a tunnel, or out of a
        container); pages are shown there only to those who bring a token.
        """
        host = host_of(authority)
        if not is_loopback(bound) or is_loopback(host):
            return True
        public = host_of(urlsplit(self.public_url).netloc)
        return bool(host) and host == public and (endpoint in OPEN or self.token is not None)

    def lets_in(self, given: str | None, ticket: str | None = None, *, endpoint: str | None) -> bool:
        """Whether the token given opens the endpoint or, where none is given (None), the ticket a browser kept."""
        if self.token is None or endpoint in OPEN:
            return True
        return _same(ticket, self.ticket) if given is None else _same(given, self.token)

    @property
    def ticket(self) -> str:
        """What a browser keeps once it has brought the token: it opens pages as the token does, without telling it."""
        return hmac.new((self.token or "").encode(), b"pages of the dashboard", "sha256").hexdigest()

    def knows(self, given: str | None) -> bool:
        """Whether this is the webhook's secret."""
        return _same(given, self.secret)

    def attached(self, given: str) -> bool:
        """Whether this is the key by which Label Studio calls an attached ML backend."""
        return bool(self.ml_key) and _same(given, self.ml_key)


def _same(given: str | None, expected: str) -> bool:
    """Equality that takes as long for a near miss as for a far one."""
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())
