"""The benchmark of the strategies: every figure has a row, medians and verdicts are right, and a failure is a row."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"

FIGURES = {
    ("least_confidence", 1_000_000, "proba", "numpy", "within", 5),
    ("least_confidence", 1_000_000, "proba", "modAL", "faster", 4),
    ("least_confidence", 1_000_000, "proba", "scikit-activeml", "faster", 50),
    ("margin", 1_000_000, "proba", "numpy", "within", 5),
    ("margin", 1_000_000, "proba", "modAL", "faster", 4),
    ("margin", 1_000_000, "proba", "scikit-activeml", "faster", 50),
    ("entropy", 1_000_000, "proba", "modAL", "faster", 4),
    ("vote_entropy", 1_000_000, "votes", "modAL", "faster", 50),
    ("vote_entropy", 1_000_000, "votes", "modAL", "extra_share", 0.1),
    ("vote_entropy", 1_000_000, "members", "modAL", "faster", 50),
    ("vote_entropy", 1_000_000, "members", "modAL", "extra_share", 0.1),
    ("consensus_entropy", 1_000_000, "members", "modAL", "faster", 8),
    ("consensus_entropy", 1_000_000, "members", "modAL", "extra_share", 0.1),
    ("kl_max", 1_000_000, "members", "modAL", "faster", 8),
    ("kl_max", 1_000_000, "members", "modAL", "extra_share", 0.1),
    ("kl_mean", 1_000_000, "members", "Baal", "faster", 5),
    ("kl_mean", 1_000_000, "members", "Baal", "extra_share", 0.1),
    ("kl_mean", 1_000_000, "members", "scikit-activeml", "faster", 25),
    ("k_center", 100_000, "X", "ALiPy", "faster", 7),
    ("k_center", 100_000, "X", "scikit-activeml", "faster", 10),
    ("k_center", 1_000_000, "X", "numpy", "within", 1.3),
    ("badge", 100_000, "X proba", "scikit-activeml", "faster", 40),
    ("badge", 100_000, "X proba", "scikit-activeml", "extra_mb", 100),
    ("badge", 100_000, "X proba", "", "works", 0),
    ("ranked_batch", 10_000, "X proba", "modAL", "faster", 40),
    ("ranked_batch", 100_000, "X proba", "modAL", "faster", 40),
    ("typiclust", 100_000, "X", "scikit-activeml", "seconds", 10),
    ("typiclust", 100_000, "X", "scikit-activeml", "extra_mb", 1000),
    ("max_herding", 100_000, "X", "scikit-activeml", "seconds", 10),
    ("max_herding", 100_000, "X", "scikit-activeml", "extra_mb", 1000),
    ("density", 100_000, "X proba", "modAL", "seconds", 10),
    ("density", 100_000, "X proba", "modAL", "extra_mb", 1000),
    ("margin", 10_000_000, "map", "numpy", "anonymous_mb", 500),
    ("help", 0, "start", "", "seconds", 0.5),
}


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The benchmark's modules."""
    names = ("peers", "turns", "speed_rows", "speed_page", "strategies")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="module")
def workers(bench: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with bench.turns.Workers(tmp_path_factory.mktemp("envs"), cap_mb=2000, limit_s=60) as workers:
        yield workers


def test_every_figure_to_reach_has_a_row_and_no_other_is_judged(bench: SimpleNamespace) -> None:
    rows = [(row.job, row.other, figure) for row in bench.speed_rows.ROWS for figure in row.figures]
    found = {(job.strategy, job.n, job.given, other, figure.kind, figure.bound) for job, other, figure in rows}
    assert found == FIGURES


def test_every_row_is_listed_by_what_it_measures(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["strategies.py", "--list"])
    bench.strategies.main()
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(set(listed)) == len(bench.speed_rows.ROWS)
    assert "margin | 1,000,000 × 10 | modAL | ≥ 4 × faster" in listed


def test_rows_are_kept_by_the_name_of_their_strategy_and_an_unknown_name_is_refused(bench: SimpleNamespace) -> None:
    kept = [row.job.strategy for group in bench.strategies.wanted("badge,margin") for row in group.rows]
    assert set(kept) == {"badge", "margin"}
    with pytest.raises(SystemExit, match=r"no row measures margn; known: .*margin"):
        bench.strategies.wanted("margn")


def test_a_quick_row_is_the_same_job_on_a_tenth_of_the_pool(bench: SimpleNamespace) -> None:
    for row in bench.speed_rows.ROWS:
        less = bench.strategies.quick(row)
        assert less.job.n == {0: 0, 1000: 1000, 3000: 1000}.get(row.job.n, row.job.n // 10)
        assert (less.other, less.figures, less.job.k) == (row.other, row.figures, row.job.k)


def test_a_ratio_is_the_median_over_the_pairs_with_its_range(bench: SimpleNamespace) -> None:
    ratio = bench.turns.pair_ratio([6.0, 10.0, 9.0], [2.0, 1.0, 9.0])
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 1.0, 10.0)


def test_a_figure_is_judged_by_its_own_measure(bench: SimpleNamespace) -> None:
    figure, result = bench.speed_rows.Figure, bench.turns.Result
    ours = result(seconds=[1.0, 2.0, 4.0], extra_mb=9.0, anonymous_mb=50.0, input_mb=100.0)
    theirs = result(seconds=[4.0, 8.0, 12.0])

    def reached(kind: str, bound: float) -> Any:
        return figure(kind, bound).reached(ours, theirs)

    assert [reached("faster", bound) for bound in (3.9, 4.0, 4.1)] == [True, True, False]
    assert [reached("within", bound) for bound in (0.24, 0.25, 0.26)] == [False, True, True]
    assert [reached("seconds", bound) for bound in (2.0, 2.1)] == [False, True]
    assert [reached("extra_mb", bound) for bound in (9.0, 9.1)] == [False, True]
    assert [reached("extra_share", bound) for bound in (0.09, 0.1)] == [False, True]
    assert [reached("anonymous_mb", bound) for bound in (50.0, 51.0)] == [False, True]
    assert reached("works", 0)


def test_what_failed_reaches_nothing_and_is_no_proof_of_speed(bench: SimpleNamespace) -> None:
    figure, result = bench.speed_rows.Figure, bench.turns.Result
    ours, broken = result(seconds=[1.0]), result(failed="no such strategy")
    slow = result(failed="more than 30 s", over_s=30.0)
    assert figure("works").reached(broken, None) is False
    assert figure("faster", 4).reached(ours, broken) is None
    assert figure("faster", 30).reached(ours, slow) is True
    assert figure("faster", 31).reached(ours, slow) is None
    assert figure("seconds", 2).reached(ours, broken) is True


def test_a_line_says_who_was_faster_and_by_how_much(bench: SimpleNamespace) -> None:
    row = bench.speed_rows.Row(bench.peers.Job("margin", 1000), "modAL", (bench.speed_rows.faster(4),))
    fast = bench.turns.Result(seconds=[0.002, 0.002], extra_mb=3.0, rows=[1, 2, 3])
    slow = bench.turns.Result(seconds=[0.006, 0.01], extra_mb=20.4, rows=[3, 2, 9])
    won, lost = (bench.speed_rows.Measured(row, *sides) for sides in ((fast, slow), (slow, fast)))
    shown = "`margin` | 1,000 × 10 | modAL | 2.0 ms, 3 MB more | 8.0 ms, 20 MB more | 4.0 × faster (3.0–5.0) | 2 of 3"
    assert bench.speed_page.line(won, judged=True) == f"| {shown} | ≥ 4 × faster | yes |"
    assert "| 4.0 × slower (3.0–5.0) |" in bench.speed_page.line(lost, judged=True)
    assert bench.speed_page.line(lost, judged=True).endswith("| no |")
    assert bench.speed_page.line(lost, judged=False).endswith("| not judged |")


def test_utilities_of_the_same_rows_are_compared_where_both_give_them(bench: SimpleNamespace) -> None:
    ours = bench.turns.Result(rows=[4, 7, 1], utilities=[0.9, 0.8, 0.5])
    theirs = bench.turns.Result(rows=[7, 4, 2], utilities=[1.0, 0.9, 0.4])
    measured = bench.speed_rows.Measured(bench.speed_rows.ROWS[0], ours, theirs)
    assert bench.speed_page.same_rows(measured) == "2 of 3, utilities within 20.0%"
    theirs.utilities = []
    assert bench.speed_page.same_rows(measured) == "2 of 3"


def test_the_summary_counts_what_was_reached_and_names_what_was_not_and_what_was_slower(bench: SimpleNamespace) -> None:
    rows, page, result = bench.speed_rows, bench.speed_page, bench.turns.Result
    group = rows.Group("Scores", "", (row := rows.Row(bench.peers.Job("margin", 1000), "modAL", (rows.faster(4),)),))
    fast, slow = result(seconds=[0.001]), result(seconds=[0.008])
    table = ((group, (rows.Measured(row, fast, slow), rows.Measured(row, slow, fast))),)
    text = page.section(page.Run("a machine", {"modAL": "could not be installed"}, table, 5, 120, 12, quick=False))
    assert "1 of 2 figures were reached." in text
    assert "Not reached:\n\n* `margin`, 1,000 × 10, ≥ 4 × faster: no\n" in text
    assert "Ours was the slower one:\n\n* `margin`, 1,000 × 10, beside modAL: 8.0 × slower (8.0–8.0)\n" in text
    assert "| modAL | could not be installed |" in text
    assert text.count("| `margin` | 1,000 × 10 |") == 2


def test_the_section_takes_the_place_of_the_old_one_and_leaves_the_rest(bench: SimpleNamespace) -> None:
    page = bench.speed_page
    old, new = (f"{page.BEGIN}\n{text}\n{page.END}\n" for text in ("old", "new"))
    assert page.page_with(f"# T\n\n{old}\n## Labels\n", new) == f"# T\n\n{new}\n## Labels\n"
    assert page.page_with("# T\n\n## Labels\n", new) == f"# T\n\n## Labels\n\n{new}"
    assert page.page_with("", new) == f"{page.TITLE}\n{new}"


def test_a_mapped_pool_holds_probabilities_of_the_right_shape(bench: SimpleNamespace, tmp_path: Path) -> None:
    bench.peers.write_map(tmp_path / "p", 1200, 3)
    job = bench.peers.Job("margin", 1200, "map", classes=3, file=str(tmp_path / "p"))
    assert np.allclose(bench.peers.make_data(job).proba.sum(axis=1), 1)


@pytest.mark.process
def test_both_sides_get_the_same_input_and_every_call_is_kept(bench: SimpleNamespace, workers: Any) -> None:
    ours, theirs = bench.turns.in_turn(workers, bench.peers.Job("margin", 2000, k=7), "numpy", pairs=3)
    assert (ours.failed, theirs.failed) == ("", "")
    assert len(set(ours.rows)) == 7
    assert len(ours.seconds) == len(theirs.seconds) == 3
    assert ours.input_mb == theirs.input_mb == 0.16
    assert ours.anonymous_mb >= 0


@pytest.mark.process
def test_a_strategy_that_is_not_there_is_a_row_that_says_so(bench: SimpleNamespace, workers: Any) -> None:
    ours, theirs = bench.turns.in_turn(workers, bench.peers.Job("margn", 2000), "numpy", pairs=2)
    assert 'unknown strategy "margn"' in ours.failed
    assert theirs is None


@pytest.mark.process
def test_what_runs_into_a_limit_is_ended_and_the_next_job_works(
    bench: SimpleNamespace, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.peers.Job
    take = bench.turns.Side(workers, "numpy", job("k_center", 100_000_000, "X", d=64))
    take.attempt(take.first)
    assert "out of memory" in take.result.failed
    monkeypatch.setattr(workers, "limit_s", 0.2)
    take = bench.turns.Side(workers, "numpy", job("k_center", 2000, "X", d=64, k=10**9))
    take.attempt(take.first)
    assert (take.result.failed, take.result.over_s) == ("more than 0.2 s", 0.2)
    monkeypatch.undo()
    take = bench.turns.Side(workers, "numpy", job("k_center", 2000, "X", d=64))
    take.attempt(take.first)
    take.attempt(take.turn)
    assert take.result.failed == ""
    assert len(take.result.seconds) == 1
