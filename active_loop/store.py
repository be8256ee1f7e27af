"""All durable state of a loop: one SQLite file, one write path.

Facts go in and are never changed: items, annotations, round openings, looks, settings, events. What moves is
only the state of asks and batches, and of a round from `opened` to `ranked`. Every verb that writes is one
transaction; whoever calls it can be killed before or after, never in between. Nothing here decides anything,
and nobody else imports sqlite3.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from .domain import (
    Annotation,
    AnswerKind,
    Ask,
    AskKind,
    AskState,
    Batch,
    Event,
    Item,
    Look,
    LookItem,
    Purpose,
    Round,
    RoundState,
    Score,
    Split,
    TaskRef,
    Verdict,
)
from .errors import FolderBusyError, FolderError, NewerFolderError

_MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "the first tables",
        """
        CREATE TABLE setting (
            version INTEGER PRIMARY KEY, body TEXT NOT NULL, created_at TEXT NOT NULL
        ) STRICT;
        CREATE TABLE item (
            position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            split TEXT NOT NULL CHECK (split IN ('pool', 'test')), test_rank INTEGER UNIQUE,
            source TEXT NOT NULL, "row" TEXT NOT NULL, "group" TEXT,
            CHECK ((split = 'test') = (test_rank IS NOT NULL))
        ) STRICT;
        CREATE TABLE round (
            number INTEGER PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('opened', 'ranked')),
            annotation_position INTEGER NOT NULL, ask_position INTEGER NOT NULL,
            setting INTEGER NOT NULL REFERENCES setting, seed INTEGER NOT NULL,
            final INTEGER NOT NULL, entitled INTEGER NOT NULL, items INTEGER NOT NULL,
            opened_at TEXT NOT NULL, ranked_at TEXT, record TEXT NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX one_opened_round ON round (state) WHERE state = 'opened';
        CREATE TABLE batch (
            id INTEGER PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('sending', 'open')),
            created_at TEXT NOT NULL, opened_at TEXT
        ) STRICT;
        CREATE TABLE ask (
            id TEXT PRIMARY KEY, item INTEGER NOT NULL REFERENCES item, purpose TEXT NOT NULL
                CHECK (purpose IN ('pool', 'test')),
            state TEXT NOT NULL CHECK (state IN ('ranked', 'sending', 'open', 'retired', 'superseded')),
            round INTEGER REFERENCES round, rank INTEGER, utility REAL, why TEXT NOT NULL, probability REAL,
            strategy TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('first', 'adjudication', 'relabel', 'repeat')),
            wanted INTEGER NOT NULL CHECK (wanted >= 1),
            batch INTEGER REFERENCES batch, position INTEGER UNIQUE,
            CHECK ((state IN ('ranked', 'superseded')) = (position IS NULL)),
            CHECK ((batch IS NULL) = (position IS NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX ask_by_state ON ask (state);
        CREATE INDEX ask_by_batch ON ask (batch);
        CREATE INDEX ask_by_item ON ask (item);
        CREATE TABLE task (
            source TEXT NOT NULL, task INTEGER NOT NULL, created_at TEXT NOT NULL,
            ask TEXT NOT NULL REFERENCES ask,
            PRIMARY KEY (source, task, created_at)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE annotation (
            position INTEGER PRIMARY KEY, source TEXT NOT NULL, id TEXT NOT NULL, updated_at TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('submitted', 'skipped', 'retracted')), raw TEXT NOT NULL,
            person TEXT NOT NULL, ask TEXT REFERENCES ask, item INTEGER NOT NULL REFERENCES item,
            created_at TEXT, lead_time_s REAL, recorded_at TEXT NOT NULL,
            UNIQUE (source, id, updated_at)
        ) STRICT;
        CREATE INDEX annotation_by_ask ON annotation (ask, position);
        CREATE TABLE score (
            round INTEGER NOT NULL REFERENCES round, metric TEXT NOT NULL, value REAL NOT NULL,
            low REAL NOT NULL, high REAL NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (round, metric)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE look (
            number INTEGER PRIMARY KEY, round INTEGER NOT NULL REFERENCES round, first INTEGER NOT NULL,
            m INTEGER NOT NULL, n INTEGER NOT NULL, level REAL NOT NULL, target REAL NOT NULL,
            metric TEXT NOT NULL, value REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL,
            correct INTEGER NOT NULL, bound REAL NOT NULL, posterior REAL NOT NULL, verdict TEXT NOT NULL,
            at TEXT NOT NULL
        ) STRICT;
        CREATE TABLE look_item (
            look INTEGER NOT NULL REFERENCES look, item INTEGER NOT NULL REFERENCES item,
            annotation INTEGER REFERENCES annotation, label TEXT, predicted TEXT NOT NULL,
            PRIMARY KEY (look, item)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE event (
            position INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL
        ) STRICT;
        CREATE INDEX event_by_kind ON event (kind);
        """,
    ),
    (
        "batches and rounds that a person asked for",
        """
        ALTER TABLE batch ADD COLUMN by_hand INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE round ADD COLUMN by_hand INTEGER NOT NULL DEFAULT 0
        """,
    ),
)


class FolderLock:
    """The right to write a loop folder: an operating-system lock, released by the kernel at any death.

    Of another `name` it is the right to do something else that one process may do at a time.
    """

    def __init__(self, folder: Path, name: str = "loop.lock") -> None:
        self._path = folder / name
        self._file: IO[str] | None = None

    def __enter__(self) -> FolderLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+")
        except OSError as error:
            raise FolderError(f"cannot write the loop folder {self._path.parent}: {error.strerror}.") from error
        try:
            _lock(file)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise FolderBusyError(
                f"another process (number {holder}) is running the loop in {self._path.parent}; "
                "stop it first, or only read with `active-loop status`."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: IO[str]) -> None:
    """Take an exclusive lock on the first byte range of `file` or raise OSError at once."""
    try:
        import fcntl
    except ImportError:  # Windows has no fcntl; its lock covers one byte far behind the text
        import msvcrt

        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        file.seek(0)
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_STANDING = "(ask.state != 'retired' OR EXISTS (SELECT 1 FROM annotation WHERE annotation.ask = ask.id))"
"""An ask that was not withdrawn before anybody answered it."""


_THESE = "(SELECT value FROM json_each(?))"
"""Any number of values, given as one JSON list: SQLite limits how many there may be one by one."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """The durable state of one loop.

    `path` is the database file, or ":memory:". With `readonly` nothing can be written, and no lock is needed.
    `now` gives the time of every row that carries one. Not for use by two threads at once: readers in other
    threads open their own.
    """

    def __init__(self, path: Path | str, *, readonly: bool = False, now: Callable[[], datetime] = _utc_now) -> None:
        self._now = now
        self._readonly = readonly
        self._kept: dict[str, tuple[int, Any]] = {}  # what was read, with the number of changes there had been
        self.path = path
        if readonly and path != ":memory:" and not Path(path).is_file():
            raise FolderError(f"no loop was started in {Path(path).parent}: there is no {Path(path).name} in it.")
        try:
            self._db = self._connect(readonly)
            self._migrate(readonly)
        except sqlite3.DatabaseError as error:
            raise FolderError(f"cannot read {path}: {error}. Restore it from a copy; nothing was changed.") from error

    def _connect(self, readonly: bool) -> sqlite3.Connection:
        if self.path == ":memory:":
            db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        else:
            uri = Path(self.path).absolute().as_uri() + ("?mode=ro" if readonly else "")
            db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10, check_same_thread=False)
        db.row_factory = sqlite3.Row
        if not readonly:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL" if self.path != ":memory:" else "PRAGMA synchronous = OFF")
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def _migrate(self, readonly: bool) -> None:
        known = len(_MIGRATIONS)
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > known:
            raise NewerFolderError(
                f"{self.path} has schema {found}, and this active-loop knows {known}: a newer version wrote it; "
                "upgrade active-loop. Nothing was changed."
            )
        if readonly:
            if not found:
                raise FolderError(f"the loop in {Path(self.path).parent} has not started yet.")
            if found < known:
                raise FolderError(
                    f"{self.path} has schema {found}, and this active-loop reads {known}: an older version wrote it; "
                    f"`active-loop run {Path(self.path).parent}` brings it up to date."
                )
            return
        for version, (name, script) in enumerate(_MIGRATIONS[found:], start=found + 1):
            with self.atomic() as db:
                if version == 1:
                    db.execute(
                        "CREATE TABLE schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL, "
                        "applied_at TEXT NOT NULL) STRICT"
                    )
                for statement in script.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO schema VALUES (?, ?, ?)", (version, name, _text(self._now())))
                db.execute(f"PRAGMA user_version = {version}")

    def close(self) -> None:
        self._db.close()

    def data_version(self) -> int:
        """A number that is another one after somebody else has committed; of use to this connection alone."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def identity(self) -> tuple[int, int] | None:
        """Which file is at the path now; None if none is. Another one was put there if this changes."""
        try:
            found = Path(self.path).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @contextmanager
    def atomic(self) -> Iterator[sqlite3.Connection]:
        """The one write path: all of it or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._commit()

    def _commit(self) -> None:
        self._db.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[Store]:
        """Reads inside see one state, whatever a writer does meanwhile."""
        self._db.execute("BEGIN")
        try:
            yield self
        finally:
            self._db.execute("ROLLBACK")

    # the loop's own name, and settings

    def uid(self, wanted: str = "") -> str:
        """The loop's own random name (hex), made at the first call (`wanted` is for replays) and kept for ever."""
        created = self.events("created")
        if created:
            return str(created[0].body["uid"])
        uid = wanted or secrets.token_hex(16)
        self.add_event("created", {"uid": uid, "key": wanted or secrets.token_hex(16)})
        return uid

    def key(self) -> bytes:
        """The loop's secret, made with its name: that one is published, and nothing may follow from it.

        A loop that has no name yet has none either: empty.
        """
        created = self.events("created")
        return bytes.fromhex(created[0].body["key"]) if created else b""

    def add_setting(self, body: str, change: dict[str, Any] | None = None) -> int:
        """Append a version of the settings (JSON text), with what it changes (an event); returns its number, from 1."""
        with self.atomic() as db:
            version = _last_id(db.execute("INSERT INTO setting (body, created_at) VALUES (?, ?)", (body, self._at())))
            if change is not None:
                self._add_event(db, "changed", {"setting": version, **change})
            return version

    def setting(self, version: int | None = None) -> tuple[int, str] | None:
        """One version of the settings, the newest by default: (number, JSON text)."""
        which = "ORDER BY version DESC LIMIT 1" if version is None else "WHERE version = ?"
        row = self._one(f"SELECT version, body FROM setting {which}", *([] if version is None else [version]))
        return (row["version"], row["body"]) if row else None

    def settings_history(self) -> list[tuple[datetime, str]]:
        """When each version of the settings came, with its JSON text, in their order."""
        rows = self._db.execute("SELECT created_at, body FROM setting ORDER BY version")
        return [(_time(row["created_at"]), row["body"]) for row in rows]

    # items

    def import_items(self, items: Sequence[Item], annotations: Sequence[Annotation], facts: dict[str, Any]) -> None:
        """Add items, the answers that came with them, and the facts of the import (an event), all at once."""
        with self.atomic() as db:
            db.executemany(
                "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(i.position, i.id, i.split, i.test_rank, i.source, i.row, i.group) for i in items],
            )
            self._append(db, annotations)
            self._add_event(db, "imported", facts)

    def items(self) -> list[Item]:
        """All items, in order of position."""
        rows = self._db.execute('SELECT position, id, split, source, "row", test_rank, "group" FROM item')
        return [Item(p, i, Split(s), source, row, rank, group) for p, i, s, source, row, rank, group in rows]

    def items_at(self, positions: Collection[int]) -> list[Item]:
        """The items at these positions, in their order, without those that there are not."""
        which = 'SELECT position, id, split, source, "row", test_rank, "group" FROM item WHERE position IN '
        rows = self._db.execute(f"{which} {_THESE} ORDER BY position", (json.dumps([*positions]),))
        return [Item(p, i, Split(s), source, row, rank, group) for p, i, s, source, row, rank, group in rows]

    def n_items(self) -> int:
        return int(self._one("SELECT count(*) FROM item")[0])

    # annotations

    def append(self, annotations: Iterable[Annotation]) -> int:
        """Record answers in order of (updated_at, id); a version that is there already costs nothing.

        Answers whose ask is unknown are passed over: the place where people label holds other things too. An
        answer to an ask that is still `sending` proves that it was published. Returns how many were new.
        """
        with self.atomic() as db:
            return self._append(db, annotations)

    def _append(self, db: sqlite3.Connection, annotations: Iterable[Annotation]) -> int:
        new = 0
        for a in sorted(annotations, key=lambda a: (a.updated_at, a.id)):
            new += db.execute(
                "INSERT INTO annotation "
                "(source, id, updated_at, kind, raw, person, ask, item, created_at, lead_time_s, recorded_at) "
                "SELECT ?, ?, ?, ?, ?, ?, ?, coalesce((SELECT item FROM ask WHERE id = ?), ?), ?, ?, ? "
                "WHERE ? IS NULL OR EXISTS (SELECT 1 FROM ask WHERE id = ? AND position IS NOT NULL) "
                "ON CONFLICT DO NOTHING",
                (
                    *(a.source, a.id, _text(a.updated_at), a.kind, a.raw, a.person, a.ask, a.ask, a.item),
                    *(_text(a.created_at) if a.created_at else None, a.lead_time_s, self._at(), a.ask, a.ask),
                ),
            ).rowcount
        return new

    def new_among(self, annotations: Sequence[Annotation]) -> list[Annotation]:
        """Those that `append` would record."""
        versions = "SELECT source, id, updated_at FROM annotation"
        known = set(self._once("versions", lambda: [tuple(row) for row in self._db.execute(versions)]))
        asked = "SELECT 1 FROM ask WHERE id = ? AND position IS NOT NULL"
        return [
            a
            for a in annotations
            if (a.source, a.id, _text(a.updated_at)) not in known and (a.ask is None or self._one(asked, a.ask))
        ]

    def annotations(self, upto: int | None = None, after: int = 0) -> list[Annotation]:
        """The sequence of annotations with `after` < position <= `upto` (to the end by default)."""
        rows = self._db.execute(
            "SELECT annotation.*, coalesce(ask.kind, 'first') AS asked FROM annotation "
            "LEFT JOIN ask ON ask.id = annotation.ask "
            "WHERE annotation.position > ? AND annotation.position <= ? ORDER BY annotation.position",
            (after, _last(upto)),
        )
        return [_annotation(row) for row in rows]

    def annotations_about(self, items: Collection[int]) -> list[Annotation]:
        """All annotations about these items, in their sequence."""
        rows = self._db.execute(
            "SELECT annotation.*, coalesce(ask.kind, 'first') AS asked FROM annotation "
            "LEFT JOIN ask ON ask.id = annotation.ask "
            f"WHERE annotation.item IN {_THESE} ORDER BY annotation.position",
            (json.dumps([*items]),),
        )
        return [_annotation(row) for row in rows]

    def answered_items(self, but: Collection[AskKind] = ()) -> list[int]:
        """Items with an annotation, the newest first; annotations of asks of the kinds `but` do not count."""
        rows = self._db.execute(
            "SELECT annotation.item FROM annotation LEFT JOIN ask ON ask.id = annotation.ask "
            f"WHERE coalesce(ask.kind, 'first') NOT IN {_THESE} "
            "GROUP BY annotation.item ORDER BY max(annotation.position) DESC",
            (json.dumps([*but]),),
        )
        return [row[0] for row in rows]

    def annotation_position(self) -> int:
        """Position of the newest annotation, 0 if there is none."""
        return int(self._one("SELECT coalesce(max(position), 0) FROM annotation")[0])

    def answered_positions(self, purpose: Purpose) -> list[int]:
        """Ascending: where in the sequence each ask of this purpose got its first annotation."""
        first = (
            "SELECT min(annotation.position) FROM annotation JOIN ask ON ask.id = annotation.ask "
            "WHERE ask.purpose = ? GROUP BY annotation.ask ORDER BY 1"
        )
        return self._once(f"answered {purpose}", lambda: [row[0] for row in self._db.execute(first, (purpose,))])

    def first_answers(self) -> dict[str, int]:
        """Where in the sequence each ask got its first annotation; asks without one are not there."""
        first = "SELECT ask, min(position) FROM annotation WHERE ask IS NOT NULL GROUP BY ask"
        return dict(self._once("first answers", lambda: [tuple(row) for row in self._db.execute(first)]))

    # rounds

    def open_round(self, round_: Round) -> None:
        """Commit what a round will train on, before the fit."""
        with self.atomic() as db:
            r = round_
            db.execute(
                "INSERT INTO round VALUES (?, 'opened', ?, ?, ?, ?, ?, ?, ?, ?, NULL, '{}', ?)",
                (
                    *(r.number, r.annotation_position, r.ask_position, r.setting, r.seed),
                    *(r.final, r.entitled, r.items, self._at(), r.by_hand),
                ),
            )

    def rank_round(self, number: int, asks: Sequence[Ask], record: dict[str, Any], scores: Sequence[Score]) -> None:
        """Commit a round's ranking, record and scores; unsent asks of earlier rankings are superseded.

        Asks about items that were asked after the round had opened are stored as superseded at once.
        """
        with self.atomic() as db:
            db.execute("UPDATE ask SET state = 'superseded' WHERE state = 'ranked'")
            asked = {row[0] for row in db.execute("SELECT item FROM ask WHERE position IS NOT NULL")}
            for ask in asks:
                state = AskState.SUPERSEDED if ask.item in asked else AskState.RANKED
                self._insert_ask(db, ask, state)
            db.execute(
                "UPDATE round SET state = 'ranked', ranked_at = ?, record = ? WHERE number = ?",
                (self._at(), json.dumps(record), number),
            )
            db.executemany(
                "INSERT INTO score VALUES (?, ?, ?, ?, ?, ?)",
                [(s.round, s.metric, s.value, s.low, s.high, s.n) for s in scores],
            )

    def rounds(self) -> list[Round]:
        """All rounds by number, the cold start first."""
        return self._once(
            "rounds", lambda: [_round(row) for row in self._db.execute("SELECT * FROM round ORDER BY number")]
        )

    def scores(self) -> list[Score]:
        return [Score(*row) for row in self._db.execute("SELECT * FROM score ORDER BY round, metric")]

    # asks and batches

    def _insert_ask(self, db: sqlite3.Connection, ask: Ask, state: AskState) -> None:
        db.execute(
            "INSERT INTO ask VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(ask.id, ask.item, ask.purpose, state, ask.round, ask.rank, ask.utility, json.dumps(dict(ask.why))),
                *(ask.probability, ask.strategy, ask.kind, ask.wanted, ask.batch, ask.position),
            ),
        )

    def create_batch(
        self, ranked: Sequence[Ask], fresh: Sequence[Ask], order: Sequence[str], *, by_hand: bool = False
    ) -> int:
        """Put asks into a new batch, `sending`, in the given `order` of their ids; returns the batch's number.

        `ranked` are stored already, and may want fewer answers now than they did; `fresh` ones are stored now.
        """
        with self.atomic() as db:
            made = "INSERT INTO batch (state, created_at, by_hand) VALUES ('sending', ?, ?)"
            batch = _last_id(db.execute(made, (self._at(), by_hand)))
            last = db.execute("SELECT coalesce(max(position), 0) FROM ask").fetchone()[0]
            position = {ask_id: last + number for number, ask_id in enumerate(order, start=1)}
            for ask in ranked:
                db.execute(
                    "UPDATE ask SET state = 'sending', batch = ?, position = ?, wanted = ? "
                    "WHERE id = ? AND state = 'ranked'",
                    (batch, position[ask.id], ask.wanted, ask.id),
                )
            for ask in fresh:
                self._insert_ask(db, replace(ask, batch=batch, position=position[ask.id]), AskState.SENDING)
            return batch

    def mark_open(self, batch: int, tasks: Iterable[TaskRef] = ()) -> None:
        """Every ask of the batch was seen in the labelling place; repeated `tasks` cost nothing."""
        with self.atomic() as db:
            db.executemany(
                "INSERT INTO task SELECT ?, ?, ?, id FROM ask WHERE id = ? ON CONFLICT DO NOTHING",
                [(task.source, task.task_id, _text(task.created_at), task.ask) for task in tasks],
            )
            db.execute("UPDATE ask SET state = 'open' WHERE batch = ? AND state = 'sending'", (batch,))
            db.execute("UPDATE batch SET state = 'open', opened_at = ? WHERE id = ?", (self._at(), batch))

    def retire(self, asks: Sequence[Ask]) -> None:
        """These asks are withdrawn; an answer that comes all the same is still recorded."""
        with self.atomic() as db:
            db.executemany("UPDATE ask SET state = 'retired' WHERE id = ? AND state = 'open'", [(a.id,) for a in asks])

    def sending_batch(self) -> Batch | None:
        """The oldest batch that is not known to be published."""
        row = self._one("SELECT * FROM batch WHERE state = 'sending' ORDER BY id LIMIT 1")
        if not row:
            return None
        asks = tuple(self._asks("batch = ? ORDER BY position", row["id"]))
        return Batch(row["id"], AskState.SENDING, asks, _time(row["created_at"]))

    def n_batches(self) -> int:
        return int(self._one("SELECT count(*) FROM batch")[0])

    def n_batches_by_hand(self) -> int:
        """How many of them a person asked for."""
        return int(self._one("SELECT count(*) FROM batch WHERE by_hand")[0])

    def ranked_asks(self, limit: int) -> list[Ask]:
        """The best unsent asks of the current ranking, best first."""
        return self._asks("state = 'ranked' ORDER BY rank LIMIT ?", limit)

    def asks(self) -> list[Ask]:
        """Every ask that was ever put into a batch, in that order."""
        return self._asks("position IS NOT NULL ORDER BY position")

    def ranking(self, round_: int) -> list[Ask]:
        """What a round chose, best first, be it that it was asked about or not."""
        return self._asks("round = ? AND rank IS NOT NULL ORDER BY rank", round_)

    def asks_about(self, items: Collection[int]) -> list[Ask]:
        """Every ask about these items that was ever put into a batch, in that order."""
        return self._asks(f"item IN {_THESE} AND position IS NOT NULL ORDER BY position", json.dumps([*items]))

    def unanswered(self) -> list[Ask]:
        """Asks that are sending or open and have no annotation at all, in order of position."""
        return self._once(
            "unanswered",
            lambda: self._asks(
                "state IN ('sending', 'open') AND NOT EXISTS (SELECT 1 FROM annotation WHERE annotation.ask = ask.id) "
                "ORDER BY position"
            ),
        )

    def incomplete(self) -> list[Ask]:
        """Asks that are sending or open and have answers of fewer people than wanted, in order of position."""
        return self._once(
            "incomplete",
            lambda: self._asks(
                "state IN ('sending', 'open') AND wanted > "
                "(SELECT count(DISTINCT person) FROM annotation WHERE annotation.ask = ask.id) ORDER BY position"
            ),
        )

    def n_sent(self, purpose: Purpose) -> int:
        """Answers asked for with this purpose, whatever became of them; of retired asks those that were given."""
        given = "SELECT min(wanted, count(DISTINCT person)) FROM annotation WHERE annotation.ask = ask.id"
        wanted = f"CASE state WHEN 'retired' THEN ({given}) ELSE wanted END"
        sent = f"SELECT coalesce(sum({wanted}), 0) FROM ask WHERE purpose = ? AND position IS NOT NULL"
        return int(self._one(sent, purpose)[0])

    def asked_items(self, upto: int | None = None, purpose: Purpose | None = None) -> set[int]:
        """Items that were asked about, among the first `upto` asks (all by default); not those withdrawn unanswered."""
        these = f"SELECT item FROM ask WHERE position <= ?1 AND (?2 IS NULL OR purpose = ?2) AND {_STANDING}"
        return {row[0] for row in self._db.execute(these, (_last(upto), purpose))}

    def withdrawn(self, upto: int) -> dict[int, datetime]:
        """Items among the first `upto` asks that were withdrawn unanswered, with when they were last asked about."""
        times = {row[0]: _time(row[1]) for row in self._db.execute("SELECT id, created_at FROM batch")}
        these = f"SELECT item, max(batch) FROM ask WHERE position <= ? AND NOT {_STANDING} GROUP BY item"
        return {row[0]: times[row[1]] for row in self._db.execute(these, (upto,))}

    def ask_position(self) -> int:
        return int(self._one("SELECT coalesce(max(position), 0) FROM ask")[0])

    def sent_at(self) -> dict[int, datetime]:
        """When each asked item was last put into a batch; not those withdrawn unanswered."""
        times = {row[0]: _time(row[1]) for row in self._db.execute("SELECT id, created_at FROM batch")}
        last = f"SELECT item, max(batch) FROM ask WHERE batch IS NOT NULL AND {_STANDING} GROUP BY item"
        return dict(self._once("sent", lambda: [(row[0], times[row[1]]) for row in self._db.execute(last)]))

    def _asks(self, where: str, *values: object) -> list[Ask]:
        return [_ask(row) for row in self._db.execute(f"SELECT * FROM ask WHERE {where}", values)]

    # tasks

    def tasks(self) -> list[TaskRef]:
        """Every published task that is remembered."""
        rows = self._db.execute("SELECT source, task, created_at, ask FROM task ORDER BY task, created_at")
        return [TaskRef(source, task, _time(at), ask) for source, task, at, ask in rows]

    # looks

    def add_look(self, look: Look, items: Sequence[LookItem]) -> None:
        """Commit one test of the claim with everything it saw."""
        with self.atomic() as db:
            db.execute(
                "INSERT INTO look VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(look.number, look.round, look.first, look.m, look.n, look.level, look.target, look.metric),
                    *(look.value, look.low, look.high, look.correct, look.bound, look.posterior, look.verdict),
                    self._at(),
                ),
            )
            db.executemany(
                "INSERT INTO look_item VALUES (?, ?, ?, ?, ?)",
                [(i.look, i.item, i.annotation, i.label, i.predicted) for i in items],
            )

    def looks(self) -> list[Look]:
        return self._once(
            "looks", lambda: [_look(row) for row in self._db.execute("SELECT * FROM look ORDER BY number")]
        )

    def look_items(self, look: int) -> list[LookItem]:
        rows = self._db.execute("SELECT * FROM look_item WHERE look = ? ORDER BY item", (look,))
        return [LookItem(*row) for row in rows]

    # events

    def add_event(self, kind: str, body: dict[str, Any]) -> None:
        with self.atomic() as db:
            self._add_event(db, kind, body)

    def _add_event(self, db: sqlite3.Connection, kind: str, body: dict[str, Any]) -> None:
        db.execute("INSERT INTO event (at, kind, body) VALUES (?, ?, ?)", (self._at(), kind, json.dumps(body)))

    def events(self, kind: str | None = None) -> list[Event]:
        """Events in order, of one kind or of all."""
        these = "SELECT * FROM event WHERE ?1 IS NULL OR kind = ?1 ORDER BY position"
        return self._once(f"events {kind}", lambda: [_event(row) for row in self._db.execute(these, (kind,))])

    # inside

    def _once(self, name: str, read: Callable[[], list[Any]]) -> list[Any]:
        """What `read` gives, read again only after something was written: this is the only process that writes."""
        changes = self._db.total_changes
        if self._readonly or self._db.in_transaction:
            return read()
        if name not in self._kept or self._kept[name][0] != changes:
            self._kept[name] = (changes, read())
        return list(self._kept[name][1])

    def _one(self, sql: str, *values: object) -> Any:
        return self._db.execute(sql, values).fetchone()

    def _at(self) -> str:
        return _text(self._now())


def _last_id(cursor: sqlite3.Cursor) -> int:
    return int(cursor.lastrowid or 0)


def _last(upto: int | None) -> int:
    return (1 << 62) if upto is None else upto


def _text(time: datetime) -> str:
    """UTC with microseconds: as text it sorts as time does."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ask(row: sqlite3.Row) -> Ask:
    return Ask(
        id=row["id"],
        item=row["item"],
        purpose=Purpose(row["purpose"]),
        state=AskState(row["state"]),
        round=row["round"],
        rank=row["rank"],
        utility=row["utility"],
        why=json.loads(row["why"]),
        probability=row["probability"],
        strategy=row["strategy"],
        kind=AskKind(row["kind"]),
        wanted=row["wanted"],
        batch=row["batch"],
        position=row["position"],
    )


def _annotation(row: sqlite3.Row) -> Annotation:
    return Annotation(
        source=row["source"],
        id=row["id"],
        updated_at=_time(row["updated_at"]),
        kind=AnswerKind(row["kind"]),
        raw=row["raw"],
        person=row["person"],
        ask=row["ask"],
        item=row["item"],
        created_at=_time(row["created_at"]) if row["created_at"] else None,
        lead_time_s=row["lead_time_s"],
        position=row["position"],
        asked=AskKind(row["asked"]),
    )


def _look(row: sqlite3.Row) -> Look:
    return Look(**{**dict(row), "verdict": Verdict(row["verdict"]), "at": _time(row["at"])})


def _event(row: sqlite3.Row) -> Event:
    return Event(row["position"], _time(row["at"]), row["kind"], json.loads(row["body"]))


def _round(row: sqlite3.Row) -> Round:
    return Round(
        number=row["number"],
        state=RoundState(row["state"]),
        annotation_position=row["annotation_position"],
        ask_position=row["ask_position"],
        setting=row["setting"],
        seed=row["seed"],
        final=bool(row["final"]),
        entitled=bool(row["entitled"]),
        by_hand=bool(row["by_hand"]),
        items=row["items"],
        opened_at=_time(row["opened_at"]),
        ranked_at=_time(row["ranked_at"]) if row["ranked_at"] else None,
        record=json.loads(row["record"]),
    )
