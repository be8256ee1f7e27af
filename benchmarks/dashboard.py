"""What the dashboard costs: how long a page takes with 100,000 items and 200 rounds, and what viewers cost the loop.

    python benchmarks/dashboard.py
    python benchmarks/dashboard.py --items 10000 --rounds 20 --viewers 5 --seconds 5

A loop folder is filled as a loop fills it, and its dashboard served as `active-loop serve` does. Then (1) each page is
asked for right after something was committed, when it has to be read anew, and again, when nothing was; (2) viewers
keep the overview open as its script does, asking every two seconds whether anything changed, while one answer a second
comes in: how much of a core does the server take; (3) the loop writes answers as fast as it can, alone and beside the
viewers: how much slower is a commit.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np

from active_loop.config import write_settings
from active_loop.domain import Annotation, AnswerKind, Ask, AskState, Item, Purpose, Round, RoundState, Score, Split
from active_loop.session import dashboard
from active_loop.settings import BudgetSettings, DataSettings, Settings, TaskSettings, to_json
from active_loop.store import Store

CLASSES = ("oak", "elm", "ash", "yew")
PAGES = ("/", "/status.json", "/items", "/items/5", "/people", "/record", "/model", "/map")


_CALM_S = 12.0
"""Seconds after which whatever was read before is read anew, however long it took."""


class Filled:
    """A loop folder with so many items and ranked rounds; each round has ten answers more to learn from."""

    def __init__(self, folder: Path, items: int, rounds: int) -> None:
        self.folder, self.items = folder, items
        self._time = datetime.now(UTC) - timedelta(days=30)
        self._rng = np.random.default_rng(0)
        settings = Settings(
            name="leaves",
            data=DataSettings(path="leaves.csv", kind="text", show=("text",)),
            task=TaskSettings(classes=CLASSES),
            budget=BudgetSettings(answers=20 * rounds),
        )
        lines = "\n".join(f"a leaf with {p % 7} lobes and number {p}" for p in range(items))
        (folder / "leaves.csv").write_text(f"text\n{lines}\n", encoding="utf-8")
        write_settings(settings, folder / "loop.toml")
        self.store = Store(folder / "loop.db", now=self._tick)
        self.store.uid()
        self.store.add_setting(to_json(settings))
        self.reserved = min(5000, items // 5)
        self.store.import_items(
            [self._item(p) for p in range(items)],
            [],
            {"items": items, "reserved": self.reserved, "budget": 20 * rounds, "m0": 160, "people": 1, "answers": 0},
        )
        self._next = {Purpose.TEST: 0, Purpose.POOL: self.reserved}
        self.open: list[str] = []
        for number in range(rounds):
            self._round(number)

    def answer(self) -> None:
        """One answer to the oldest open ask; publishes others when none is left."""
        if not self.open:
            self._publish(10, 5)
        self._answer([self.open.pop(0)])

    def _tick(self) -> datetime:
        self._time += timedelta(seconds=7)
        return self._time

    def _item(self, p: int) -> Item:
        test = p < self.reserved
        return Item(p, f"leaf-{p}", Split.TEST if test else Split.POOL, "leaves.csv", str(p), p if test else None)

    def _publish(self, pool: int, test: int) -> None:
        asks = []
        for purpose, n in ((Purpose.POOL, pool), (Purpose.TEST, test)):
            for p in range(self._next[purpose], self._next[purpose] + n):
                asks.append(Ask(f"ask-{p}", p, purpose, AskState.SENDING, strategy="margin", why={"margin": 0.1}))
            self._next[purpose] += n
        self.store.mark_open(self.store.create_batch([], asks, [ask.id for ask in asks]))
        self.open += [ask.id for ask in asks]

    def _answer(self, asks: list[str]) -> None:
        self.store.append(
            Annotation(
                source="people",
                id=ask,
                updated_at=self._tick(),
                kind=AnswerKind.SUBMITTED,
                raw=f'"{CLASSES[int(self._rng.integers(4))]}"',
                person=f"person {self._rng.integers(5)}",
                ask=ask,
                lead_time_s=8.0,
            )
            for ask in asks
        )

    def _round(self, number: int) -> None:
        self._publish(10, 5)
        self._answer(self.open)
        self.open = []
        position = self.store.annotation_position()
        self.store.open_round(Round(number, RoundState.OPENED, position, self.store.ask_position(), 1, 0))
        n_test = 5 * (number + 1)
        value = 0.9 - 0.4 * (number + 1) ** -0.5
        half = 1 / n_test**0.5
        record = {"n_labels": 10 * (number + 1), "agreement": 0.9, "model": "logistic", "fit_s": 0.1, "query_s": 0.2}
        score = Score(number, "accuracy", value, max(0.0, value - half), min(1.0, value + half), n_test)
        self.store.rank_round(number, [], record, [score])


class Viewers:
    """People who keep the overview open: threads that do what its script does."""

    def __init__(self, url: str, n: int) -> None:
        self._url = url
        self._over = threading.Event()
        self.waits: list[float] = []
        self.failed = 0
        self._threads = [threading.Thread(target=self._look, args=(2.0 * place / n,)) for place in range(n)]

    def __enter__(self) -> Viewers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _look(self, after_s: float) -> None:
        version = ""
        self._over.wait(after_s)
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.is_set():
                began = time.perf_counter()
                try:
                    reply = client.get("/status.json", headers={"If-None-Match": version} if version else {})
                    if reply.status_code == 200:
                        version = reply.headers["ETag"]
                        client.get("/")
                except httpx.HTTPError:
                    self.failed += 1
                self.waits.append(time.perf_counter() - began)
                self._over.wait(2.0)


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, str]]:
    """The dashboard in a process of its own, as `active-loop serve` runs it: its process id and address."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        from active_loop.config import read_settings

        with dashboard(folder, read_settings(folder / "loop.toml")) as server:
            os.write(writing, server.url.encode())
            threading.Event().wait()
    try:
        yield child, os.read(reading, 200).decode()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def core_s(process: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pages(filled: Filled, url: str, times: int) -> None:
    print("page              after a commit, median   worst      unchanged, median   (ms, on the wire)")
    with httpx.Client(base_url=url, timeout=60) as client:
        for path in PAGES:
            if client.get(path).status_code == 404:
                continue
            fresh, again = [], []
            _ms(client, path)
            for _ in range(times):
                filled.answer()
                time.sleep(_CALM_S)
                fresh.append(_ms(client, path))
                again.append(_ms(client, path))
            print(f"{path:<16} {statistics.median(fresh):16.0f} {max(fresh):12.0f} {statistics.median(again):16.1f}")


def _ms(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    client.get(path).raise_for_status()
    return 1000 * (time.perf_counter() - began)


def live(filled: Filled, process: int, url: str, viewers: int, seconds: float) -> None:
    for n, changing in ((1, False), (1, True), (viewers, False), (viewers, True)):
        with Viewers(url, n) as looking:
            time.sleep(2.5)
            before, began = core_s(process), time.monotonic()
            while time.monotonic() - began < seconds:
                if changing:
                    filled.answer()
                time.sleep(1.0)
            share = (core_s(process) - before) / (time.monotonic() - began)
        said = "an answer a second" if changing else "nothing changes"
        wait = 1000 * statistics.median(looking.waits)
        print(
            f"{n:3d} viewers, {said:<20} {100 * share:5.1f} % of a core, {wait:6.1f} ms a look, {looking.failed} failed"
        )


def writing(filled: Filled, url: str, viewers: int, times: int) -> None:
    def commits() -> list[float]:
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            filled.answer()
            taken.append(1000 * (time.perf_counter() - began))
            time.sleep(0.02)
        return taken

    alone = commits()
    with Viewers(url, viewers):
        time.sleep(2.5)
        beside = commits()
    for name, taken in (("alone", alone), (f"beside {viewers} viewers", beside)):
        spread = np.percentile(taken, [50, 95])
        print(f"a commit {name:<20} {spread[0]:6.2f} ms median, {spread[1]:6.2f} ms at 95 %, {max(taken):6.1f} worst")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        filled = Filled(Path(folder), given.items, given.rounds)
        answers = filled.store.annotation_position()
        print(f"{given.items} items, {given.rounds} rounds, {answers} answers")
        with served(Path(folder)) as (process, url):
            pages(filled, url, given.times)
            live(filled, process, url, given.viewers, given.seconds)
            writing(filled, url, given.viewers, 100)
        filled.store.close()


if __name__ == "__main__":
    main()
