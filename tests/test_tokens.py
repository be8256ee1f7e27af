"""Legacy and personal tokens that end in the middle of a run, at a real Label Studio, each with a person of its own."""

from __future__ import annotations

import json
import logging
import secrets
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from studios import TOLD, Host, Proxy, Scene

from active_loop.cli import main
from active_loop.config import write_settings
from active_loop.domain import Stopped, WaitingForPeople
from active_loop.driver import Driver
from active_loop.errors import LabelingError, TokenError
from active_loop.label_studio import LabelStudio, sign_up
from active_loop.local_studio import LocalStudio
from active_loop.settings import LabelingSettings

pytestmark = [
    pytest.mark.studio,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:label_studio_sdk.*"),
]

RENEWAL = "/api/token/refresh"


@dataclass(frozen=True)
class Person:
    """Somebody with a login of their own, and what they have of tokens."""

    url: str
    email: str
    legacy: str
    personal: str

    def access(self) -> str:
        """A token of five minutes."""
        return str(self._post("/api/token/refresh/", {"refresh": self.personal}).json()["access"])

    def revoke(self) -> None:
        self._post("/api/token/blacklist/", {"refresh": self.personal}, self.access())

    def allow_legacy(self, allowed: bool) -> None:
        told = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": allowed}
        self._post("/api/jwt/settings", told, self.access())

    def _post(self, path: str, body: object, access: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {access}"} if access else {}
        reply = httpx.post(self.url + path, json=body, headers=headers, trust_env=False, timeout=30)
        assert reply.is_success, reply.text
        return reply


@pytest.fixture
def person(studio: LocalStudio, host: Host) -> Person:
    """A new person, whose tokens may be spoilt."""
    email = f"{secrets.token_hex(6)}@loop.local"
    link = LabelStudio(studio.url, token=studio.token).invite_link()
    legacy = sign_up(link, email, secrets.token_urlsafe(12), url=studio.url)
    reply = host.client.post("/api/token/", headers={"Authorization": f"Token {legacy}"})
    return Person(studio.url, email, legacy, reply.json()["token"])


@pytest.fixture
def no_legacy(person: Person) -> Iterator[Callable[[], None]]:
    """Disallows legacy tokens, for everybody; at the end of the test they are allowed again."""
    yield lambda: person.allow_legacy(False)
    person.allow_legacy(True)


@pytest.fixture
def scenes(
    tmp_path: Path, studio: LocalStudio, host: Host, second: str, proxy: Proxy
) -> Iterator[Callable[[str], Scene]]:
    """Makes a loop that reaches its Label Studio through the proxy with a token."""
    made: list[Scene] = []

    def make(token: str) -> Scene:
        made.append(Scene(tmp_path, studio, host, second, token=token, url=proxy.url))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


def run_with(scene: Scene, then: Callable[[], None]) -> Stopped | None:
    """Run until nothing is left to do, do something, and go on until the run has looked for answers again."""
    waits: list[object] = []

    def report(result: object) -> None:
        if isinstance(result, WaitingForPeople):
            waits.append(result)
            then() if len(waits) == 1 else driver.pause()

    driver = Driver(scene.loop, poll_s=0.01)
    return driver.run(report)


def renewals(proxy: Proxy) -> int:
    return sum(RENEWAL in path for _, path in proxy.seen)


def pass_six_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK's clock go on, by which it knows that a token of five minutes has ended."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(minutes=6)

    monkeypatch.setattr("label_studio_sdk.tokens.client_ext.datetime", Later)


def test_a_personal_token_is_renewed_in_the_middle_of_a_run(
    scenes: Callable[[str], Scene], person: Person, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scenes(person.personal)
    assert renewals(proxy) == 1

    def go_on() -> None:
        with monkeypatch.context() as later:
            pass_six_minutes(later)
            scene.answer(scene.asks()[0], "ham")
            list(scene.backend.collect())

    assert run_with(scene, go_on) is None
    assert scene.said(scene.asks()[0])[0] == "ham"
    assert renewals(proxy) >= 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_that_ended_by_the_servers_clock_alone_is_renewed_and_the_call_made_again(
    scenes: Callable[[str], Scene], person: Person, proxy: Proxy, host: Host, method: str
) -> None:
    """A write that was refused for its token did nothing, so it may be made again."""
    scene = scenes(person.personal)
    before = renewals(proxy)
    part = "/import" if method == "POST" else "/api/tasks"
    proxy.once(method, part, (401, json.dumps({"detail": "Authentication credentials were not provided."})))
    if method == "POST":
        host("DELETE", f"/api/tasks/{scene.task(scene.asks()[0]).id}/")
        scene.restart()
        assert len(scene.there()) == len(set(scene.there())) == 6
    else:
        scene.settle()
    assert renewals(proxy) == before + (1 if method == "GET" else 2)


def test_a_legacy_token_that_is_refused_is_not_tried_again(
    scenes: Callable[[str], Scene], person: Person, proxy: Proxy
) -> None:
    scene = scenes(person.legacy)
    proxy.seen.clear()
    proxy.once("GET", "/api/tasks", (401, json.dumps({"detail": "Invalid token."})))
    with pytest.raises(TokenError):
        scene.settle()
    assert (len(proxy.seen), renewals(proxy)) == (1, 0)


@pytest.mark.parametrize("fault", [(502, "<html>Bad gateway</html>"), (503, "{}"), "lose the request"])
def test_a_renewal_that_fails_in_passing_is_waited_out(
    scenes: Callable[[str], Scene],
    person: Person,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    fault: str | tuple[int, str],
) -> None:
    scene = scenes(person.personal)
    scene.backend = scene.loop.backend = LabelStudio(
        proxy.url, token=person.personal, project=scene.backend.project, sleep=lambda seconds: None
    )
    proxy.fault = lambda method, path: fault if RENEWAL in path else None
    with pytest.raises(LabelingError, match="cannot") as caught:
        scene.settle()
    assert not isinstance(caught.value, TokenError)
    proxy.fault = lambda method, path: None
    assert isinstance(scene.settle(), WaitingForPeople)


def test_a_revoked_personal_token_ends_the_run_with_one_sentence(
    scenes: Callable[[str], Scene], person: Person, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token of five minutes works to its end; then the run ends, and what was recorded is there."""
    scene = scenes(person.personal)
    scene.answer(scene.asks()[0], "ham")
    scene.settle()

    def go_on() -> None:
        person.revoke()
        assert list(scene.backend.collect()) is not None
        pass_six_minutes(monkeypatch)

    with pytest.raises(TokenError) as caught:
        run_with(scene, go_on)
    assert str(caught.value) == (
        f"Label Studio at {proxy.url} refuses our token (Token is blacklisted): take a new one from Account & Settings "
        "there (or, if it is a legacy one, have these allowed), try it with `active-loop doctor`, and run again."
    )
    assert caught.value.exit_code == 7
    assert scene.versions == ["submitted"]
    texts = [(found.ok, found.text) for found in scene.backend.check(TOLD)]
    assert texts == [(False, f"token not valid (personal, renewed by itself): {caught.value}")]


def test_legacy_tokens_that_are_switched_off_end_the_run_and_on_again_let_it_go_on(
    scenes: Callable[[str], Scene], person: Person, no_legacy: Callable[[], None]
) -> None:
    scene = scenes(person.legacy)
    with pytest.raises(TokenError, match=r"legacy token authentication has been disabled.*`active-loop doctor`"):
        run_with(scene, no_legacy)
    assert [found.text[:24] for found in scene.backend.check(TOLD) if not found.ok] == ["token not valid (legacy)"]
    person.allow_legacy(True)
    assert isinstance(scene.settle(), WaitingForPeople)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("0" * 40, "Invalid token"),
        ("an.access.token", "Invalid token"),
        ("", "no token for Label Studio"),
        ("tök€n", "a character that no token has"),
        ("a b", "a character that no token has"),
        ("a\nb", "a character that no token has"),
    ],
)
def test_a_wrong_token_is_refused_in_words_that_do_not_hold_it(studio: LocalStudio, token: str, said: str) -> None:
    place = LabelStudio(studio.url, token=token, project=1)
    with pytest.raises(TokenError, match=said) as caught:
        list(place.collect())
    if token:
        assert token not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


def test_a_token_of_five_minutes_alone_is_refused(studio: LocalStudio, person: Person) -> None:
    with pytest.raises(TokenError, match="Token has wrong type"):
        list(LabelStudio(studio.url, token=person.access(), project=1).collect())


def test_the_sdk_renews_a_personal_token_at_the_root_of_the_server(person: Person, proxy: Proxy) -> None:
    """Of label-studio-sdk 2.1.2. When this fails, docs/label-studio.md need not ask for a legacy token below a path."""
    with pytest.raises(LabelingError):
        list(LabelStudio(f"{proxy.url}/below", token=person.personal, project=1).collect())
    assert [path for _, path in proxy.seen][:1] == ["/api/token/refresh/"]


@pytest.mark.parametrize("kind", ["personal", "legacy"])
def test_neither_errors_nor_logs_nor_doctor_show_a_token(
    scenes: Callable[[str], Scene],
    person: Person,
    proxy: Proxy,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    token = person.personal if kind == "personal" else person.legacy
    with caplog.at_level(logging.DEBUG):
        scene = scenes(token)
        findings = scene.backend.check(TOLD)
        errors = []
        for fault in ((500, "broken"), (400, "{}"), (401, "{}"), "lose the request"):
            proxy.fault = lambda method, path, fault=fault: fault  # type: ignore[misc]
            with pytest.raises(LabelingError) as caught:
                list(LabelStudio(proxy.url, token=token, project=1, sleep=lambda seconds: None).collect())
            errors.append("".join(traceback.format_exception(caught.value)))
        proxy.fault = lambda method, path: None
    written = capfd.readouterr()
    everything = [caplog.text, *errors, written.out, written.err, str(findings), repr(scene.backend)]
    for secret in (token, token.rsplit(".", 1)[-1]):
        assert not [text for text in everything if secret in text]
    valid = "personal, renewed by itself" if kind == "personal" else "legacy"
    assert f"token valid ({person.email}; {valid})" in [found.text for found in findings if found.ok]


@pytest.mark.parametrize("kind", ["personal", "legacy"])
def test_doctor_says_which_kind_of_token_it_is_and_whether_it_is_valid(
    scenes: Callable[[str], Scene], person: Person, studio: LocalStudio, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = person.personal if kind == "personal" else person.legacy
    scene = scenes(token)
    told = LabelingSettings(backend="label-studio", url=studio.url, project=scene.backend.project)
    write_settings(replace(TOLD, labeling=told), scene.folder / "loop.toml")
    monkeypatch.setenv(told.token_env, token)
    result = CliRunner().invoke(main, ["doctor", str(scene.folder)])
    assert f" ✓ token valid ({person.email}; {kind}" in result.output
    person.revoke()
    monkeypatch.setenv(told.token_env, person.personal if kind == "personal" else "f" * 40)
    refused = CliRunner().invoke(main, ["doctor", str(scene.folder)])
    assert f" ✗ token not valid ({kind}" in refused.output
    assert refused.exit_code == 1
    assert token not in result.output + refused.output
