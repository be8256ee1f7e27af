"""Who is let in, and as what: tokens of people, the secret of Label Studio, and the names this server answers to.

A server on loopback is reached by every program on the machine, browsers included; a page elsewhere can make a
browser call it under a name of its own (DNS rebinding), so on loopback only the machine's own names are answered.
Bound to anything else, whoever reads must bring a token. Only the owner changes anything, or reads figures of single
people, and always has to say who they are. Nothing here knows Flask or reads a request.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from active_loop.errors import ConfigError

OPEN = frozenset(
    {"health", "webhook", "static", "enter", "ml.health", "ml.setup", "ml.predict", "ml.webhook", "ml.versions"}
)
"""Endpoints that need no token: they show nothing of the loop but its name, or have a secret of their own."""


class Role(StrEnum):
    """As what somebody is let in: to read totals and items, or to read everything and to change it."""

    VIEWER = "viewer"
    OWNER = "owner"


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
    """What a request must bring.

    With a `token` (the owner's) or a `viewer` token nothing is shown without one of them; with neither everybody who
    reaches the server is a viewer. `key` makes an owner in either case. Raises `ConfigError` for an empty secret or
    token, which everybody would know, and for a viewer's token that is the owner's.
    """

    secret: str
    token: str | None = None
    public_url: str = ""
    ml_key: str = ""
    viewer: str | None = None
    key: str = ""

    def __post_init__(self) -> None:
        if not self.secret:
            raise ConfigError("the webhook's secret is empty: give a long random one.")
        if "" in (self.token, self.viewer):
            raise ConfigError("the dashboard's token is empty: give a long random one, or none at all on loopback.")
        if self.viewer is not None and self.viewer in (self.token, self.key):
            raise ConfigError("the viewers' token is the owner's: give them one of their own.")

    @property
    def is_closed(self) -> bool:
        """Whether nothing is shown without a token."""
        return self.token is not None or self.viewer is not None

    def answers_to(self, authority: str, *, bound: str, endpoint: str | None) -> bool:
        """Whether a server bound to `bound` answers a request whose Host header is `authority`.

        Under the name in `public_url` Label Studio may call even a server on loopback (through a tunnel, or out of a
        container); pages are shown there only to those who bring a token.
        """
        host = host_of(authority)
        if not is_loopback(bound) or is_loopback(host):
            return True
        public = host_of(urlsplit(self.public_url).netloc)
        return bool(host) and host == public and (endpoint in OPEN or self.is_closed)

    def role(self, given: str | None, ticket: str | None = None) -> Role | None:
        """As what a request is let in that brings a token or, where it brings none, the ticket a browser kept."""
        for role, secrets in ((Role.OWNER, (self.token, self.key)), (Role.VIEWER, (self.viewer,))):
            known = [secret for secret in secrets if secret]
            if any(_same(given, secret) or (given is None and _same(ticket, _ticket(secret))) for secret in known):
                return role
        return None if self.is_closed or given is not None else Role.VIEWER

    def lets_in(self, given: str | None, ticket: str | None = None, *, endpoint: str | None) -> bool:
        """Whether a request that brings this reaches the endpoint."""
        return endpoint in OPEN or self.role(given, ticket) is not None

    def ticket(self, given: str) -> str:
        """What a browser keeps once it has brought a token: it opens pages as the token does, without telling it."""
        return _ticket(given)

    @property
    def form(self) -> str:
        """What a form on a page of ours carries, so that a page of somebody else cannot send it."""
        return hmac.new(
            (self.key or self.token or self.secret).encode(), b"forms of the dashboard", "sha256"
        ).hexdigest()

    def knows(self, given: str | None) -> bool:
        """Whether this is the webhook's secret."""
        return _same(given, self.secret)

    def attached(self, given: str) -> bool:
        """Whether this is the key by which Label Studio calls an attached ML backend."""
        return bool(self.ml_key) and _same(given, self.ml_key)

    def is_form(self, given: str | None) -> bool:
        """Whether this is what a form of ours carries."""
        return _same(given, self.form)


def _ticket(secret: str) -> str:
    return hmac.new(secret.encode(), b"pages of the dashboard", "sha256").hexdigest()


def _same(given: str | None, expected: str) -> bool:
    """Equality that takes as long for a near miss as for a far one."""
    return given is not None and hmac.compare_digest(given.encode(), expected.encode())
