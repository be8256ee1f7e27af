"""The commands: parse, call one verb, print. Everything else lives elsewhere, and is imported only when it is needed.

Exit codes: 0 done; 1 doctor found something wrong; 2 a setting or flag is wrong; 3 stopped without the wanted
verdict; 4 the labelling place cannot be reached; 5 the data cannot be used; 6 no model can be trained; 7 a token is
refused; 8 the folder cannot be used; 9 it is in use; 10 a newer version wrote it; 11 MLflow cannot be reached; 130
paused.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import ActiveLoopError, ConfigError, FolderError
from .settings import METRICS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from active_loop.server import Server

    from .demo import Comparison
    from .report import Status
    from .session import Session
    from .settings import Settings

NOT_REACHED = 3
PAUSED = 130

_ENDINGS = {"csv": ".csv", "parquet": ".parquet", "label-studio": ".json"}


class _Commands(click.Group):
    """Commands in the order in which people need them; our own errors become one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _interruptible():
                return super().invoke(ctx)
        except ActiveLoopError as error:
            click.echo(f"active-loop: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("paused; the same command continues.", err=True)
            # Where the interrupt fell into source text being run (every named tuple and dataclass is made so), Python
            # would end `python -m` by SIGINT whatever the code; text that runs through takes that back.
            exec("")
            ctx.exit(PAUSED)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit codes: 0 done, 1 doctor found something wrong, 2 wrong setting or flag, 3 stopped without the wanted "
        "verdict, 4 labelling place unreachable, 5 unusable data, 6 no model, 7 token refused, 8 unusable folder, "
        "9 folder in use, 10 folder of a newer version, 11 MLflow unreachable, 130 paused."
    ),
)
@click.version_option(package_name="active-loop")
def main() -> None:
    """Get a model to a target metric with as few human labels as possible, and know when it is there."""


folder_argument = click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
json_flag = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


@main.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("active-loop-demo"),
    show_default=True,
    help="Where the demo's loop lies.",
)
@click.option("--me", is_flag=True, help="You answer in the browser, instead of the scripted expert.")
@click.option("--clean", is_flag=True, help="Remove the demo's folder.")
@json_flag
def demo(folder: Path, me: bool, clean: bool, as_json: bool) -> None:
    """Run the whole loop on handwritten digits, with a real Label Studio on this machine."""
    from . import demo as work

    if clean:
        removed = work.clean(folder)
        if as_json:
            _print_json({"removed": removed, "folder": str(folder)})
        else:
            click.echo(f"{folder} was removed." if removed else f"there is no {folder}: nothing to remove.")
        return
    settings = work.prepare(folder)
    with _running(folder, settings, as_json) as (session, report):
        expert = None if me else work.expert(session, folder).start()
        try:
            stopped = session.run(report)
        finally:
            if expert:
                expert.stop()
        if expert and expert.error:
            raise expert.error
        random = _compare(session, work.RandomJob(settings, folder)) if stopped else None
    _finish(folder, as_json, paused=stopped is None, random=random)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="CSV, Parquet, JSONL, image folder, or an export.")
@click.option("--attach", default="", metavar="URL", help="Instead of --data: a Label Studio that has the tasks.")
@click.option("--project", type=int, default=0, help="Of --attach: the project there. It is read and left as it is.")
@click.option("--token-file", default="", metavar="FILE", help="Of --attach: file with the token, mode 600.")
@click.option("--kind", type=click.Choice(["text", "image", "table"]), help="What an item is; guessed if not given.")
@click.option("--show", multiple=True, metavar="COLUMN", help="Column shown to people; may be repeated.")
@click.option("--test", type=click.Path(path_type=Path), help="Your own test file: such rows, all with an answer.")
@click.option("--answer", default=None, metavar="COLUMN", help="Part-filled column of known answers, or a control.")
@click.option("--group", default="", metavar="COLUMN", help="Items of one group stay on one side of the test split.")
@click.option("--id", "id_column", default="", metavar="COLUMN", help="Column that names the items.")
@click.option(
    "--label",
    type=click.Choice(["choice", "taxonomy", "multi_label", "number"]),
    help="Kind of label.",
)
@click.option("--bounds", default="", metavar="LOW,HIGH", help="Of a number: the least and the largest.")
@click.option("--unit", default="", help="Of a number: what stands behind it.")
@click.option("--classes", default="", help="The possible answers, with commas between them.")
@click.option("--metric", type=click.Choice(tuple(METRICS)), help="What is to be reached.")
@click.option("--positive", default="", metavar="CLASS", help="The class that a metric of one class is about.")
@click.option("--target", type=float, default=None, help="Value of the metric to reach.")
@click.option("--budget", type=int, default=None, help="Answers that may be asked for, in all.")
@click.option("--question", default="", help="The question shown above the choices.")
@click.option("--yes", is_flag=True, help="Ask nothing: take the defaults for what is not given.")
def init(folder: Path, data: Path | None, attach: str, project: int, token_file: str, yes: bool, **given: Any) -> None:
    """Write a loop.toml for your data, or for a project of Label Studio, by asking or from flags."""
    from .init import Given, write_loop

    if (data is None) == (not attach) or bool(attach) != bool(project):
        raise ConfigError("name the data: either a file or folder by --data, or a project by --attach URL --project N.")
    ask = _ask if sys.stdin.isatty() and not yes else None

    def say(line: str) -> None:
        click.echo(f" {line}")

    try:
        if data is not None:
            write_loop(folder, data, Given(**given), ask, say)
        else:
            _attach(folder, attach, project, token_file, Given(**given), ask, say)
    except click.Abort:
        click.echo("\nnothing was written.", err=True)
        raise SystemExit(PAUSED) from None


@main.command()
@folder_argument
@click.option("--target", type=float, default=None, help="Value of the metric to reach.")
@click.option("--budget", type=int, default=None, help="Answers that may be asked for, in all.")
@click.option("--alpha", type=float, default=None, help="Chance of a false certificate.")
@click.option(
    "--quality",
    "qualities",
    type=float,
    multiple=True,
    help="Share that the model may really get right; may be repeated.",
)
@click.option("--classes", type=int, default=None, help="How many possible answers there are.")
@click.option("--items", "n_items", type=int, default=None, help="How many items there are.  [default: plenty]")
@click.option("--seconds", type=float, default=None, help="Seconds that an answer takes.")
@click.option("--price", type=float, default=None, help="What an hour of labelling costs.")
@click.option("--per-day", type=int, default=None, help="Answers a day, of all people together.")
@click.option("--time-zone", default=None, help='Time zone of these days, for instance "Asia/Seoul".')
@click.option("--start", default="", metavar="DATE", help="First day of labelling.  [default: today]")
@click.option("--agreement", type=float, default=None, help="Share of the items on which two people agree.")
@click.option("--positive-share", type=float, default=None, help="Share of items that count, for metrics of one class.")
@json_flag
def plan(
    folder: Path,
    qualities: tuple[float, ...],
    n_items: int | None,
    start: str,
    agreement: float | None,
    positive_share: float | None,
    as_json: bool,
    **told: Any,
) -> None:
    """Say what a proof will cost, and how likely it is, before anybody labels. Without loop.toml from options alone."""
    from .planning import LEGEND, Premises, first_day, make_plan, sentences, table, with_options

    written = (folder / "loop.toml").exists()
    if not written and folder != Path():
        click.echo(f"{folder} has no loop.toml: this plan is from the options alone.", err=True)
    settings = with_options(_settings(folder) if written else None, **told)
    n_test = 0
    if written and (n_items is None or settings.data.test):
        from .sources import open_source

        records = open_source(settings.data, folder).records()
        n_test = sum(record.test for record in records)
        n_items = len(records) - n_test if n_items is None else n_items
    if settings.is_search:
        _plan_search(settings, n_items, positive_share, as_json)
        return
    day = first_day(start, settings.budget)
    found = make_plan(Premises(settings, day, n_items, qualities, positive_share, agreement, n_test))
    if as_json:
        _print_json(found.as_dict())
        return
    for sentence in sentences(found):
        click.echo(f" {sentence}")
    console = _console()
    console.width = max(console.width, 120)  # a table that is cut off tells nothing
    console.print(_grid(*table(found)))
    click.echo(f" {LEGEND}")
    for note in found.notes:
        click.echo(f" ! {note}")


def _plan_search(settings: Settings, n_items: int | None, share: float | None, as_json: bool) -> None:
    """What a search costs, in sentences."""
    from dataclasses import asdict

    from .screening import SHARES, prices, table
    from .settings import check

    check(settings)
    if not n_items or n_items < 1:
        raise ConfigError("cannot plan a search without the number of items: give it by --items.")
    found = prices(settings, n_items, SHARES if share is None else (share,))
    if as_json:
        _print_json([{**asdict(price), "answers": price.answers} for price in found])
        return
    click.echo(f" A proof that {100 * settings.target.value:g} % were found, if the chosen items hold them all:")
    _console().print(_grid(*table(found, n_items)))


@main.command("import")
@folder_argument
@json_flag
def import_(folder: Path, as_json: bool) -> None:
    """Read the data into the loop: all items at first, later only the new ones."""
    from .session import import_items

    added, total = import_items(folder, _settings(folder))
    if as_json:
        _print_json({"added": added, "items": total})
    else:
        click.echo(f"{added} items added; the loop has {total}.")


@main.command()
@folder_argument
@click.option("--port", type=int, default=None, help="Port of the dashboard.")
@json_flag
def run(folder: Path, port: int | None, as_json: bool) -> None:
    """Run the loop and its dashboard until the target is proven, the budget is spent, or Ctrl-C."""
    settings = _settings(folder, port)
    if _has_stopped(folder, settings):
        click.echo("this loop has stopped already.", err=True)
        _finish(folder, as_json)
        return
    with _running(folder, settings, as_json) as (session, report):
        stopped = session.run(report)
    _finish(folder, as_json, paused=stopped is None)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--answers", "column", default=None, metavar="COLUMN", help="Column of the data that holds all answers.")
@click.option("--strategy", default=None, help="Another strategy than the loop's.")
@click.option("--model", default=None, help="Another model than the loop's.")
@click.option("--budget", type=int, default=None, help="Another budget than the loop's.")
@click.option("--seed", type=int, default=None, help="Another seed than the loop's.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Folder to keep the simulated loop in.")
@json_flag
def simulate(folder: Path | None, column: str | None, keep: Path | None, as_json: bool, **changes: Any) -> None:
    """Run a loop against known answers: the same code, nobody asked. Without FOLDER, on the demo's digits."""
    import tempfile
    from contextlib import ExitStack

    from .config import write_settings
    from .labeling import Oracle
    from .simulate import known_answers, simulated
    from .simulate import run as run_simulation

    with ExitStack() as stack:
        if folder is None:
            from active_loop.demo_data import folder as shipped

            from .demo import simulated_settings

            folder, settings, column = stack.enter_context(shipped()), simulated_settings(), column or "digit"
        else:
            settings = _settings(folder)
        column = column or settings.data.answer
        if not column:
            raise ConfigError("cannot simulate without answers: name the column that holds them by --answers.")
        settings = _changed(settings, **changes)
        answers = known_answers(settings, folder, column)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="active-loop-")))
        settings = simulated(settings, folder, column)
        write_settings(settings, place / "loop.toml")  # which refuses what no loop can be told
        if keep:
            place = _new(keep)
            write_settings(settings, place / "loop.toml")
        ended = run_simulation(settings, place, Oracle(answers), _progress(as_json), known=False)
    status = ended.status
    if as_json:
        _print_json(status.as_dict())
    else:
        _console().print(_summary(status), soft_wrap=True)
    if status.stopped != "target":
        raise SystemExit(NOT_REACHED)


@main.command()
@folder_argument
@json_flag
def status(folder: Path, as_json: bool) -> None:
    """Where the loop stands."""
    from .report import status as read_status

    with _store(folder) as store:
        now = read_status(store)
    if as_json:
        _print_json(now.as_dict())
        return
    from .screen import status_page

    _console().print(status_page(now), soft_wrap=True)


@main.command()
@folder_argument
@click.option("--format", "form", type=click.Choice(list(_ENDINGS)), help="csv, or what the ending of --out says.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: FOLDER/export/labels.csv]")
@json_flag
def export(folder: Path, form: str | None, out: Path | None, as_json: bool) -> None:
    """Write the labels: item, label, who, agreement, and how the item was chosen."""
    path = out or folder / "export" / f"labels{_ENDINGS[form or 'csv']}"
    if path.suffix not in _ENDINGS.values() or (form and path.suffix != _ENDINGS[form]):
        wanted = _ENDINGS[form] if form else ", ".join(_ENDINGS.values())
        raise ConfigError(f'--out: the name "{path.name}" must end in {wanted}.')
    from .changes import current_settings, ended

    n = _export(folder, path)
    with _store(folder) as store:
        held_back = ended(store, current_settings(store)) is None
    if as_json:
        _print_json({"labels": n, "file": str(path), "test_answers_held_back": held_back})
        return
    click.echo(f"{n} labels in {path}")
    if held_back:
        click.echo("Answers to test items are held back until the loop has stopped.")


@main.command()
@folder_argument
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: FOLDER/model.skops]")
@click.option(
    "--right",
    "goal",
    type=float,
    default=None,
    help="Share of what the model answers alone that is to be right.  [default: the target, if it is such a share]",
)
@json_flag
def model(folder: Path, out: Path | None, goal: float | None, as_json: bool) -> None:
    """Write the model to one file that predicts from raw rows, with a card beside it that says what it is."""
    from active_loop.server import write_card

    from .alone import told
    from .changes import current_settings
    from .model import MODEL
    from .takeaway import take_away

    path = out or folder / MODEL
    if path.suffix != ".skops":
        raise ConfigError(f'--out: the name "{path.name}" must end in .skops.')
    _find_own(folder)
    with _store(folder) as store:
        taken = take_away(store, folder, path, goal)
        card = write_card(store, taken.about, path, current_settings(store).server.language)
    least = taken.about.threshold.least
    if as_json:
        _print_json({"model": str(path), "card": str(card), "trust": taken.trusts, **json.loads(taken.about.as_json())})
        return
    which = {
        "newest": f"the model of the newest round, {taken.about.round}",
        "judged": f"the model of round {taken.about.round}, which the certificate is about",
        "all": "the model that learned from all answers, certified as well",
    }
    click.echo(f"{path}: {which[taken.about.what]}, from {taken.about.n_labels} labels; {card} says what it is.")
    meant = f"{taken.about.threshold.goal or 0:.4g} of what it answers alone is meant to be right"
    if least is None:
        click.echo(f"It never asks for a person: {taken.about.threshold.why}.")
    else:
        click.echo(f"It asks for a person below a confidence of {least:.4g}: {meant}.")
        click.echo(" ".join(told(taken.about.alone, taken.about.unread)))
    for name in taken.trusts:
        click.echo(f"It holds {name}: whoever opens it elsewhere needs that class, and --trust {name}.")


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: FILE.predictions.csv]")
@click.option("--probabilities", is_flag=True, help="A column with the probability of each class, too.")
@click.option(
    "--trust", multiple=True, metavar="TYPE", help="A class of your own that the model holds; may be repeated."
)
@json_flag
def predict(
    model: Path, file: Path, out: Path | None, probabilities: bool, trust: tuple[str, ...], as_json: bool
) -> None:
    """Predict every row of a CSV, JSONL or Parquet file, or every image of a folder. MODEL is its file or its loop."""
    from .bulk import predict_file
    from .model import MODEL, load_model, own_types

    path = out or file.with_name(f"{file.name}.predictions.csv")
    if model.is_dir():
        _find_own(model)
        if not (model / MODEL).exists():
            raise FolderError(f"{model} has no {MODEL}: write it by `active-loop model {model}` first.")
        loaded = _warned(lambda: load_model(model / MODEL, (*trust, *own_types(_settings(model)))))
    else:
        loaded = _warned(lambda: load_model(model, trust))
    with _rate() as heard:
        n, asked = predict_file(loaded, file, path, probabilities=probabilities, heard=heard)
    if as_json:
        _print_json({"rows": n, "ask": asked, "file": str(path)})
        return
    alone = loaded.about.threshold.least is not None
    click.echo(f"{n} rows in {path}" + (f", of which a person should see {asked}" if alone else ""))


@main.command()
@folder_argument
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: FOLDER/report.html]")
@click.option("--no-items", is_flag=True, help="Leave out what items hold, what they are called, and people's names.")
@click.option("--language", type=click.Choice(["en", "ko"]), help="Language.  [default: server.language]")
@json_flag
def report(folder: Path, out: Path | None, no_items: bool, language: str | None, as_json: bool) -> None:
    """Write where the loop stands, and what was labelled how, as one HTML file with its tables beside it."""
    from active_loop.server import write_report

    from .sources import open_source

    settings = _settings(folder)
    with _store(folder) as store:
        written = write_report(
            store,
            out or folder / "report.html",
            source=lambda: open_source(settings.data, folder),
            items=not no_items,
            language=language or settings.server.language,
        )
    if as_json:
        _print_json({"report": str(written[0]), "tables": [str(path) for path in written[1:]]})
    else:
        click.echo(f"{written[0]}, with {len(written) - 1} files in {written[0].with_suffix('')}")


@main.command()
@folder_argument
@click.option("--port", type=int, default=None, help="Port of the dashboard.")
def serve(folder: Path, port: int | None) -> None:
    """Show the dashboard of a loop that is not running, or that another process runs; or of all loops in a folder."""
    from .session import dashboard, dashboards
    from .settings import ServerSettings

    alone = (folder / "loop.toml").exists() or not any(folder.glob("*/loop.toml"))
    if alone:
        with _store(folder), dashboard(folder, _settings(folder, port)) as server:
            _show(server)
    else:
        known = ServerSettings()
        with dashboards(folder, known.host, known.port if port is None else port) as server:
            _show(server)


@main.command()
@folder_argument
@json_flag
def suspects(folder: Path, as_json: bool) -> None:
    """List labels that look wrong to the model, for people to look at again. Nothing is changed."""
    from dataclasses import asdict

    from .session import suspects as find

    found = find(folder, _settings(folder))
    if as_json:
        _print_json([asdict(each) for each in found])
        return
    said = "1 label looks" if len(found) == 1 else f"{len(found)} labels look"
    click.echo(f"{said} wrong to the model, which may be mistaken." if found else "No label looks wrong to the model.")
    rows = [
        [each.row, each.shown, each.given, each.suggested, f"{each.margin:.2f}", str(each.neighbours)] for each in found
    ]
    if rows:
        _console().print(_grid(["row", "shown", "label", "model says", "margin", "neighbours"], rows))


@main.command()
@folder_argument
@click.option("--rounds", "kind", flag_value="rounds", help="Only the rounds, as a table.")
@click.option("--looks", "kind", flag_value="looks", help="Only the looks.")
@click.option("--settings", "kind", flag_value="settings", help="Only what was set, and what it did to the claim.")
@json_flag
def history(folder: Path, kind: str | None, as_json: bool) -> None:
    """All that happened in the loop, newest last: rounds, looks, settings, imports, and the end."""
    from dataclasses import asdict

    from .changes import current_settings
    from .history import history as read_history
    from .language import speaking
    from .settings import time_zone

    with _store(folder) as store, speaking("en"):
        found = read_history(store)
        zone = time_zone(current_settings(store).budget)
    entries = [each for each in reversed(found.entries) if kind in (None, each.kind)]
    rounds = [asdict(each) for each in found.rounds]
    if as_json:
        told = {"entries": [asdict(each) for each in entries]}
        told |= {"rounds": rounds} if kind in (None, "rounds") else {}
        told |= {"looks": [asdict(each) for each in found.looks]} if kind in (None, "looks") else {}
        _print_json(told)
        return
    if kind == "rounds":
        names = ("round", "ranked_at", "labels", "value", "low", "high", "tested", "agreement")
        _console().print(_grid(list(names), [[_cell(line[name]) for name in names] for line in rounds]))
        return
    for entry in entries:
        at = f"{entry.at.astimezone(zone):%Y-%m-%d %H:%M:%S}"
        click.echo(f"{at}  {entry.what}" + (f" {entry.note}" if entry.note else ""))
        if kind:
            for name, value in entry.facts:
                click.echo(f"{'':21}{name}: {value}")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("round_", metavar="ROUND", type=int)
@json_flag
def reproduce(folder: Path, round_: int, as_json: bool) -> None:
    """Fit a round again from what was recorded of it, and say whether it comes out the same, bit for bit."""
    from dataclasses import asdict

    from .reproduction import reproduce as fit_again

    _find_own(folder)
    with _store(folder) as store:
        found = fit_again(store, folder, round_)
    if as_json:
        _print_json({"same": found.same, **asdict(found)})
    else:
        click.echo(f"Round {found.round} was fitted again; {' and '.join(found.compared)} is compared.")
        for name, then, now in found.libraries:
            click.echo(f"  {name} was {then}, and is {now} here.")
        for difference in found.differences:
            click.echo(f"  ✗ {difference}")
        click.echo("It is the same, bit for bit." if found.same else "It is not the same.")
    if not found.same:
        raise SystemExit(NOT_REACHED)


@main.command()
@folder_argument
def invite(folder: Path) -> None:
    """Print the link by which a second person gets a login. The loop must be running, or Label Studio be elsewhere."""
    from .session import running_studio

    click.echo(running_studio(folder, _settings(folder)).invite_link())


@main.command()
@folder_argument
@json_flag
def doctor(folder: Path, as_json: bool) -> None:
    """Say in plain words what is wrong with a set-up."""
    from .session import examine

    findings = examine(folder, lambda: _settings(folder))
    if as_json:
        told = [{"ok": finding.ok, "text": finding.text} for finding in findings]
        _print_json({"ok": all(finding.ok for finding in findings), "findings": told})
    else:
        for finding in findings:
            click.echo(f" {'✓' if finding.ok else '✗'} {finding.text}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


@main.command()
@folder_argument
def notify(folder: Path) -> None:
    """Run the notify.command of the settings once, as for an event "test", to try it."""
    from .notice import LOG, deliver, message, program
    from .session import hidden

    settings = _settings(folder)
    program(settings.notify.command, folder)
    said = message("test", f"{settings.name}: this is a test of notify.command.", settings.name, folder)
    problem = deliver(settings.notify.command, folder, said, hidden(settings))
    if problem:
        raise ConfigError(problem)
    click.echo(f"notify.command ended well; what it said is in {folder / LOG}")


@main.command()
@folder_argument
@click.option("--model", "with_model", is_flag=True, help="Register the model to take away, too.")
@json_flag
def mlflow(folder: Path, with_model: bool, as_json: bool) -> None:
    """Have every round of the loop as a run on the MLflow server of the settings; may be done again and again."""
    from .tracking import bring_up_to_date, register

    settings = _settings(folder)
    with _store(folder) as store:
        if with_model:
            _find_own(folder)
        told = bring_up_to_date(store, settings, folder)
        version = register(store, settings, folder) if with_model else None
    if as_json:
        _print_json({**asdict(told), "version": asdict(version) if version else None})
        return
    click.echo(told.sentence)
    if version:
        click.echo(version.sentence)


# what the commands share


def _grid(head: list[str], rows: list[list[str]]) -> Table:
    """A table of numbers."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, collapse_padding=True)
    for name in head:
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(*row)
    return grid


def _cell(value: object) -> str:
    """A value of a table of the terminal."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value).partition(".")[0].partition("+")[0] if hasattr(value, "year") else str(value)


def _find_own(folder: Path) -> None:
    """Have classes of the user's own found beside `loop.toml` from now on, after all that is installed."""
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))


def _warned(load: Callable[[], Any]) -> Any:
    """What `load` gives; its warnings go to standard error, a sentence each."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load()
    for warning in caught:
        click.echo(f"active-loop: {warning.message}", err=True)
    return loaded


@contextmanager
def _rate() -> Iterator[Callable[[int], None]]:
    """Something to tell how many rows are done: on a terminal it is shown, with the rows per second."""
    import time

    started, shown = time.monotonic(), sys.stderr.isatty()

    def heard(n: int) -> None:
        if shown:
            click.echo(f"\r {n:,} rows, {n / max(time.monotonic() - started, 1e-9):,.0f} a second ", nl=False, err=True)

    try:
        yield heard
    finally:
        if shown:
            click.echo(err=True)


def _attach(folder: Path, url: str, project: int, token_file: str, *how: Any) -> None:
    from .attach import attach
    from .settings import LabelingSettings

    own = str(Path(token_file).expanduser().absolute()) if token_file else ""
    attach(folder, LabelingSettings(url=url, token_file=own), project, *how)


def _ask(question: str, default: str) -> str:
    """Put a question on the terminal, its default in brackets."""
    return str(click.prompt(f" {question}", default=default or None))


def _settings(folder: Path, port: int | None = None) -> Settings:
    from dataclasses import replace

    from .config import read_settings

    settings = read_settings(folder / "loop.toml")
    return settings if port is None else replace(settings, server=replace(settings.server, port=port))


def _changed(settings: Settings, **changes: Any) -> Settings:
    """The settings with what was given by flag; None means: not given."""
    from dataclasses import replace

    if changes["strategy"] is not None:
        settings = replace(settings, query=replace(settings.query, strategy=changes["strategy"]))
    if changes["model"] is not None:
        settings = replace(settings, model=replace(settings.model, use=changes["model"]))
    if changes["budget"] is not None:
        settings = replace(settings, budget=replace(settings.budget, answers=changes["budget"]))
    return settings if changes["seed"] is None else replace(settings, seed=changes["seed"])


def _new(folder: Path) -> Path:
    """The folder, made if it is not there; one with something in it is refused."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--keep: {folder} is not empty: name a new folder, so that no loop is mixed with another.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


@contextmanager
def _store(folder: Path) -> Iterator[Any]:
    from .session import DATABASE
    from .store import Store

    store = Store(folder / DATABASE, readonly=True)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _running(folder: Path, settings: Settings, as_json: bool) -> Iterator[tuple[Session, Callable[..., None]]]:
    """A session with its screen; Ctrl-C and SIGTERM pause it. With --json the screen goes to standard error."""
    from .report import status as read_status
    from .screen import Screen
    from .session import session

    def read() -> Status:
        with _store(folder) as store:
            return read_status(store)

    redraw = settings.labeling.backend != "terminal"  # there somebody types
    with (
        Screen(_console(stderr=as_json), read, folder=str(folder), redraw=redraw) as screen,
        session(folder, settings, screen.hear) as made,
    ):
        yield made, screen.hear


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and the end of the terminal pause a run as Ctrl-C does: all that was started is ended, the code is 130.

    SIGINT is taken even where a shell told its background jobs to ignore it: whoever sends it by hand means it.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(server: Server) -> None:
    """Say where the dashboard is, and leave it there until somebody ends it."""
    import threading

    click.echo(f"Dashboard {server.url}    Ctrl-C ends it")
    threading.Event().wait()


def _progress(as_json: bool) -> Callable[..., None]:
    """One line per round on standard error, so that long simulations are seen to move."""
    from .domain import Progressed

    def report(result: object) -> None:
        if isinstance(result, Progressed) and ("ranked" in result.what or result.what.startswith("look")):
            click.echo(f" {result.what}", err=True)

    return (lambda result: None) if as_json else report


def _compare(session: Session, job: Any) -> Comparison:
    """Run the demo's comparison in the training process, which has nothing else to do any more."""
    import time

    runner = session.loop.jobs.runner
    while runner.busy:
        runner.poll()
        time.sleep(0.02)
    runner.submit(job)
    while True:
        result = runner.poll()
        if result is not None:
            return result  # type: ignore[no-any-return]
        time.sleep(0.02)


def _export(folder: Path, path: Path) -> int:
    """Write the labels in the format that the ending of `path` says; returns how many there are."""
    from .changes import current_settings
    from .export import export_rows, write_export
    from .sources import open_source

    with _store(folder) as store:
        rows = export_rows(store)
        settings = current_settings(store)
    source = open_source(_settings(folder).data, folder) if path.suffix == ".json" else None
    try:
        write_export(rows, path, source, settings.task.kind)
    except OSError as error:
        raise FolderError(f"cannot write {path}: {error.strerror or error}.") from error
    return len(rows)


def _has_stopped(folder: Path, settings: Settings) -> bool:
    """Whether there is nothing left to do, so that nothing needs to be started to find that out."""
    from .changes import current_settings
    from .report import status as read_status
    from .session import DATABASE
    from .settings import differences

    if not (folder / DATABASE).is_file():
        return False
    with _store(folder) as store:
        now = read_status(store)
        changed = differences(current_settings(store), settings)
    same = all(key.startswith(("labeling.", "server.", "notify.", "mlflow.")) for key in changed)
    to_come = (now.verdict == "certified" and now.refit is None) or (
        settings.query.has_control_arm and now.control is None
    )
    return bool(now.stopped) and now.open_asks == 0 and same and not to_come


def _finish(folder: Path, as_json: bool, *, paused: bool = False, random: Comparison | None = None) -> None:
    """Export, summary and exit code at the end of a run."""
    if paused:
        raise KeyboardInterrupt
    from .report import status as read_status

    with _store(folder) as store:
        now = read_status(store)
    labels = folder / "export" / "labels.csv"
    _export(folder, labels)
    if as_json:
        compared = None if random is None else {"labels": random.n_labels, "reached": random.reached}
        _print_json({**now.as_dict(), "random": compared, "labels_file": str(labels)})
    else:
        _console().print(_summary(now, random, folder, labels), soft_wrap=True)
    if now.stopped != "target":
        raise SystemExit(NOT_REACHED)


def _summary(now: Status, random: Any = None, folder: Path | None = None, labels: Path | None = None) -> Any:
    from .screen import summary

    return summary(now, random, folder, labels)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, default=str, indent=1))


if __name__ == "__main__":
    main()
