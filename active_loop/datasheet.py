"""What a data set is that people have labelled here: where it came from, who labelled it, and how items were chosen.

It is meant to outlive the model: whoever uses the labels for something else has to know which of them are a random
sample, and with which chance the others were taken. Until the loop has stopped, test items count in totals only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .changes import current_settings, ended
from .domain import Annotation
from .export import ExportRow, export_rows
from .instructions import Instructions, versions
from .language import say
from .settings import Settings
from .store import Store


@dataclass(frozen=True, slots=True)
class Chosen:
    """Items that were chosen in one way: how many, and the least and greatest chance with which chance took them.

    `by` is the strategy, "random" or "imported"; the chances are None where nothing but the strategy decided.
    """

    by: str
    n: int
    least: float | None
    greatest: float | None


@dataclass(frozen=True, slots=True)
class Labeller:
    """One person: answers that count, in all versions, and when the first and the last of them came."""

    name: str
    answers: int
    versions: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class DataSheet:
    """A labelled data set: `rows` are its items (without test items while the loop runs, then `held_back` is true).

    `labels` counts them by label, the most frequent first; `agreed` is the mean share of votes for the label where
    several people voted, of `several` items. `features` and `model` are what the newest round learned with.
    """

    name: str
    source: str
    kind: str
    task: str
    question: str
    classes: tuple[str, ...]
    n_items: int
    n_reserved: int
    first: datetime | None
    last: datetime | None
    rows: tuple[ExportRow, ...]
    held_back: bool
    labels: tuple[tuple[str, int], ...]
    outcomes: tuple[tuple[str, int], ...]
    chosen: tuple[Chosen, ...]
    labellers: tuple[Labeller, ...]
    agreed: float | None
    several: int
    instructions: tuple[Instructions, ...]
    merge: str
    features: str
    model: str
    libraries: Mapping[str, str]

    def without_persons(self) -> DataSheet:
        """The same without what may tell of a person: items by number alone, and people too."""
        names = {each.name: say("person {n}", n=number) for number, each in enumerate(self.labellers, 1)}
        return replace(
            self,
            rows=tuple(
                replace(row, item=str(number), row="", why="", people=_renamed(row.people, names))
                for number, row in enumerate(self.rows, 1)
            ),
            labellers=tuple(replace(each, name=names[each.name]) for each in self.labellers),
        )


def data_sheet(store: Store) -> DataSheet:
    """The data set as it is now. Raises nothing for a loop that has just begun: then most of it is empty."""
    rows = export_rows(store)
    with store.snapshot():
        settings = current_settings(store)
        ranked = [round_.record for round_ in store.rounds() if round_.ranked_at]
        facts = store.events("imported")[0].body if store.n_items() else {}
        answers = [answer for answer in store.annotations() if answer.ask]
        told = versions(store.settings_history())
        runs = ended(store, settings) is None
    record: Mapping[str, object] = ranked[-1] if ranked else {}
    times = [answer.updated_at for answer in answers]
    votes = [row for row in rows if row.people.count(";") and row.agreement is not None]
    libraries = record.get("libraries", {})
    return DataSheet(
        name=settings.name,
        source=settings.data.path,
        kind=settings.data.kind,
        task=settings.task.kind,
        question=settings.task.question,
        classes=settings.task.classes,
        n_items=int(facts.get("items", 0)),
        n_reserved=int(facts.get("reserved", 0)),
        first=min(times, default=None),
        last=max(times, default=None),
        rows=tuple(rows),
        held_back=runs,
        labels=_counted(row.label for row in rows if row.label is not None),
        outcomes=_counted(row.outcome for row in rows),
        chosen=tuple(_chosen(rows)),
        labellers=tuple(_labellers(answers)),
        agreed=sum(row.agreement or 0.0 for row in votes) / len(votes) if votes else None,
        several=len(votes),
        instructions=tuple(each for each in told if each.text),
        merge=settings.people.merge,
        features=str(record.get("features", "")),
        model=_model(record, settings),
        libraries=dict(libraries) if isinstance(libraries, Mapping) else {},
    )


def _counted(values: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))


def _chosen(rows: Sequence[ExportRow]) -> Iterable[Chosen]:
    """How the items were chosen, the most frequent way first."""
    ways: dict[str, list[float | None]] = defaultdict(list)
    for row in rows:
        ways[row.chosen_by].append(row.probability)
    for way, chances in sorted(ways.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        known = [chance for chance in chances if chance is not None]
        yield Chosen(way, len(chances), min(known, default=None), max(known, default=None))


def _labellers(answers: Iterable[Annotation]) -> Iterable[Labeller]:
    """The people, in the order of their names."""
    given: dict[str, list[Annotation]] = defaultdict(list)
    for answer in answers:
        given[answer.person].append(answer)
    for name, own in sorted(given.items()):
        times = [answer.updated_at for answer in own]
        yield Labeller(name, len({(a.source, a.id) for a in own}), len(own), min(times), max(times))


def _renamed(people: str, names: Mapping[str, str]) -> str:
    return ";".join(names.get(person, say("a person")) for person in people.split(";") if person)


def _model(record: Mapping[str, object], settings: Settings) -> str:
    return str(record.get("model", "")) or settings.model.use
