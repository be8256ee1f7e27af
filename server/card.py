"""The card of a model: what it predicts and from what, how it was trained, and what is proven of it.

It stands beside the model file as Markdown, and in the report. What it says of the model is what the file says, and
what it says of the loop is what the overview says, in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from active_loop.alone import told
from active_loop.datasheet import DataSheet
from active_loop.domain import Look, Verdict
from active_loop.language import say, say_n
from active_loop.model import About, Calibration, about_model
from active_loop.report import Status, called

from . import words


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a card: a title, sentences, figures by name, a table with a head, and code to copy."""

    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    code: str = ""


def as_markdown(status: Status, sheet: DataSheet, about: About, model: Path) -> str:
    """The card as a page of Markdown."""
    name = about.loop or say("Model")
    return "\n".join(
        [f"# {say('Model card of {name}', name=name)}\n", *map(_markdown, card(status, sheet, about, model))]
    )


def card_of(status: Status, sheet: DataSheet, model: Path) -> list[Part]:
    """The card of the model in this file; empty if there is none."""
    about = about_model(model)
    return card(status, sheet, about, model) if about else []


def card(status: Status, sheet: DataSheet, about: About, model: Path) -> list[Part]:
    """The parts of a card, in the language spoken now."""
    return [
        Part(say("What it predicts"), facts=tuple(_predicts(sheet, about))),
        Part(say("How it was trained"), (_which(about),), tuple(_trained(sheet, about))),
        Part(say("What is proven"), tuple(_proven(status, about)), tuple(_looked(status, about))),
        Part(say("How it does on labels that it had not seen"), tuple(_unseen(about)), (), tuple(_classes(about))),
        Part(say("When to ask a person"), tuple(_asks(about)), tuple(_alone(about))),
        Part(say("Limits"), tuple(_limits(status, sheet, about))),
        Part(say("Fingerprints and versions"), facts=tuple(_versions(about))),
        Part(say("How to use it"), code=_code(about, model)),
    ]


def _predicts(sheet: DataSheet, about: About) -> Iterator[tuple[str, str]]:
    task = about.task_made()
    yield say("Loop"), about.loop
    if sheet.question:
        yield say("Question"), sheet.question
    if task.classes:
        yield say("Possible answers"), ", ".join(task.classes)
    yield say("From"), f"{words.kind(about.kind)}: {', '.join(about.columns)}"
    yield say("Data"), f"{sheet.source}: {say_n('{n} item', '{n} items', sheet.n_items)}"


def _which(about: About) -> str:
    n = about.n_labels
    match about.what:
        case "all":
            return say("It learned from all {n} labels after the certificate, those of test items too.", n=n)
        case "judged":
            return say(
                "It is the model of round {round}, which the certificate is about; it learned from {n} labels.",
                round=about.round,
                n=n,
            )
    return say("It is the model of the newest round, {round}; it learned from {n} labels.", round=about.round, n=n)


def _trained(sheet: DataSheet, about: About) -> Iterator[tuple[str, str]]:
    yield say("Model"), about.model
    if about.labels and about.task["kind"] != "number":
        yield say("Labels by class"), ", ".join(f"{name} {count:g}" for name, count in about.labels.items())
    chosen = ", ".join(f"{words.kind(way.by)} {way.n}" for way in sheet.chosen)
    if chosen:
        yield say("How items were chosen"), chosen
    yield say("Instructions"), say("version {n}", n=about.instructions) if about.instructions else say("none")
    yield say("Settings"), say("version {n}", n=about.settings)


def _proven(status: Status, about: About) -> Iterator[str]:
    yield words.headline(status)
    look = status.looks[-1] if status.looks else None
    if about.what == "all" and status.refit:
        yield say(
            "This model predicts otherwise than the judged one on {differing} of {n} items that neither learned from, "
            "so it is certified as well: it is {bound} or better.",
            differing=status.refit.differing,
            n=status.refit.n,
            bound=f"{int(status.refit.bound * 1000) / 1000:.3f}",
        )
    elif look and look.round != about.round:
        yield say(
            "The last look was at the model of round {judged}, and this is that of round {round}: nothing is proven of "
            "it.",
            judged=look.round,
            round=about.round,
        )


def _looked(status: Status, about: About) -> Iterator[tuple[str, str]]:
    look: Look | None = status.looks[-1] if status.looks else None
    if look is None:
        return
    yield say("Verdict"), called(look.verdict)
    yield say("Look"), say("{n}, at round {round}", n=look.number, round=look.round)
    yield words.capital(words.metric(status)), words.counted(look)
    yield say("Proven bound"), words.bound(look, status)
    yield say("Level"), f"{look.level:g}"


def _unseen(about: About) -> Iterator[str]:
    if about.held_out:
        right, n = about.held_out
        yield say("Of {n} labels that it had not seen, the model foretells {right}.", n=n, right=right)
        yield say("These were chosen, and are no random sample: the share is no estimate for new items.")
    if about.calibration:
        yield f"{say('Out of fold')}: {_calibration(about.calibration)}"
    if about.tested:
        yield f"{say('On test items')}: {_calibration(about.tested)}"
        if about.what == "all":
            yield say("The figures on test items are those of the judged round: this model has learned from them.")
    if not about.held_out and not about.calibration:
        yield say("Nothing is known of it.")


def _calibration(found: Calibration) -> str:
    return say(
        "calibration error {error}, Brier score {brier}, of {n} labels.",
        error=f"{found.error:.3f}",
        brier=f"{found.brier:.3f}",
        n=found.n,
    )


def _classes(about: About) -> Iterator[tuple[str, ...]]:
    if about.of_classes:
        yield say("Class"), say("Precision"), say("Recall")
    for name, p, n_p, r, n_r in about.of_classes:
        yield name, say("{n} of {total}", n=p, total=n_p), say("{n} of {total}", n=r, total=n_r)


def _asks(about: About) -> Iterator[str]:
    found = about.threshold
    if found.least is None:
        yield say("No confidence is set below which it asks for a person: {why}.", why=found.why)
        return
    yield say(
        "Below a confidence of {least}. Of {n} labels out of fold that reach it, {right} were foretold: {goal} or more "
        "by a lower bound of 90 %. It was chosen on those labels.",
        least=f"{found.least:.4g}",
        n=found.n,
        right=found.right,
        goal=words.percent(found.goal or 0.0),
    )
    yield from told(about.alone, about.unread)


def _alone(about: About) -> Iterator[tuple[str, str]]:
    found = about.alone
    if found:
        yield say("Look"), say("{n}, at round {round}", n=found.look, round=about.round)
        yield say("Answered alone"), say("{n} of {total}", n=found.n, total=found.total)
        yield say("Right"), say("{n} of {total}", n=found.right, total=found.n)
        yield say("Proven bound"), f"{found.bound:.4f}"
        yield say("Level"), f"{found.level:g}"


def _limits(status: Status, sheet: DataSheet, about: About) -> Iterator[str]:
    yield say("It is about items like those of the first import, and knows no other answers than those named above.")
    yield say(
        "It learned from items that were mostly chosen, not drawn: their shares of the classes are not the data's."
    )
    if status.hindrance:
        yield words.hindrance(status)
    if not status.looks or status.looks[-1].verdict != Verdict.CERTIFIED:
        yield say("Nothing is certified of it.")
    if about.trusts:
        yield say("It holds classes of your own: {names}.", names=", ".join(about.trusts))


def _versions(about: About) -> Iterator[tuple[str, str]]:
    yield say("Made"), about.made_at
    yield say("Features"), f"{about.extractor} {about.features}"
    yield say("Labels"), about.data
    yield say("Libraries"), ", ".join(f"{name} {version}" for name, version in about.libraries.items())


def _code(about: About, model: Path) -> str:
    """Python, a command, and a request; the same in every language."""
    trust = f", trust={list(about.trusts)!r}" if about.trusts else ""
    row = ", ".join(f'"{name}": "…"' for name in about.columns)
    lines = [
        "# Python",
        "import active_loop",
        f'active_loop.load_model("{model.name}"{trust}).predict(frame)',
        "",
        "# a file of any size",
        f"active-loop predict {model.name} rows.csv",
    ]
    if about.kind != "image" and about.extractor != "embeddings":
        lines += ["", "# over HTTP, from the dashboard", "POST /predict", f'{{"rows": [{{{row}}}]}}']
    return "\n".join(lines)


def _markdown(part: Part) -> str:
    lines = [f"## {part.title}\n"]
    lines += [f"{sentence}\n" for sentence in part.sentences]
    if part.facts:
        lines += [*(f"* {name}: {_flat(value)}" for name, value in part.facts), ""]
    if part.table:
        head, *rows = part.table
        lines += [_line(head), _line(tuple("---" for _ in head)), *map(_line, rows), ""]
    if part.code:
        lines += [f"```\n{part.code}\n```\n"]
    return "\n".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(_flat(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _flat(text: str) -> str:
    return " ".join(text.split())
