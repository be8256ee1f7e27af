"""The model chooses itself: on labelled items alone, the same way again, and never one that cannot be fitted."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as over
from hypothesis import strategies as st
from loops import open_loop, oracle, run_to_end, settings, write_points
from scipy import sparse
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from active_loop.config import read_settings, write_settings
from active_loop.domain import COLD_START
from active_loop.errors import ConfigError, TrainingError
from active_loop.learner import tempered
from active_loop.runner import InlineRunner, ProcessRunner
from active_loop.scoring import RoundJob
from active_loop.search import Found, Lessons, candidates, fitted, ranges, search, seconds
from active_loop.search.course import TPE, Halving, Random
from active_loop.search.evaluation import Folds, weights
from active_loop.search.mixture import Mixture, Told, best_mixture, calibrated
from active_loop.search.race import Limit, Tally, tried
from active_loop.search.ranges import Between
from active_loop.search.space import Candidate, Growing, variation
from active_loop.search.verdict import verdict
from active_loop.settings import ModelSettings

AUTO = ModelSettings(use="auto", candidates=("svm", "logistic(C=10)", "lda"))
ALL = {"svm": 15, "logistic(C=10)": 15, "lda": 15}
"""As many folds as there are, whatever the time."""

LISTED = {f"logistic(C={C})" for C in (10, 1, 0.1, 100, 0.01)}

SPACE = """
from active_loop.search import Between, Candidate, OneOf
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.svm import LinearSVC
from sklearn.base import ClassifierMixin, BaseEstimator
import numpy as np

class Broken(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        raise IndexError("list index out of range")
    def predict_proba(self, X): ...

def plain(): return [("mine", LogisticRegression()), ("late", LogisticRegression(C=3), 10_000)]
def hard(): return [("ridge", RidgeClassifier()), ("mine", LogisticRegression())]
def broken(): return [("broken", Broken()), ("ridge", RidgeClassifier())]
def twice(): return [("mine", LogisticRegression()), ("mine", LogisticRegression(C=3))]
def nothing(): return 3
def misspelt(): return [Candidate("mine", LogisticRegression(), ranges={"CC": Between(1, 10)})]
def upside_down(): return [Candidate("mine", LogisticRegression(), ranges={"C": Between(10, 1)})]
def below_zero(): return [Candidate("mine", LogisticRegression(), ranges={"C": Between(-1, 1)})]
def valueless(): return [Candidate("mine", LogisticRegression(), ranges={"C": OneOf(())})]
def impossible(): return [Candidate("mine", LogisticRegression(), ranges={"C": OneOf((-1.0,))})]

class Backwards:
    name = "backwards"
    def order(self, candidates, incumbent):
        return list(candidates)[::-1]
    def remaining(self, losses, incumbent, n_labels):
        return []

class Flat:
    name = "flat"
    def repeats(self, lessons):
        half = np.arange(len(lessons)) % 2 == 0
        return [[(np.flatnonzero(~half), np.flatnonzero(half))]] * 4
    def losses(self, lessons, held, predicted):
        return np.zeros(len(held))

class Sized:
    name = "sized"
    def candidates(self, kind, n_labels, sparse):
        return [("C", LogisticRegression(C=n_labels))]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"space_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SPACE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def lessons(n: int = 60, *, classes: int = 3, seed: int = 0, groups: Any = None, **changes: Any) -> Lessons:
    """Clouds of points, one for each class, which mix a little."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % classes
    X = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[codes % 4]
    made = Lessons(X, codes, "choice", tuple("abcdefgh"[:classes]), seed, np.arange(n) if groups is None else groups)
    return replace(made, **changes)


def outcomes(found: Found) -> dict[str, str]:
    return {trial.candidate: trial.outcome for trial in found.trials}


def without_seconds(found: Found) -> Found:
    return replace(found, trials=tuple(replace(trial, seconds=0.0) for trial in found.trials))


# What is evaluated on what


def test_each_item_is_held_out_once_in_a_repeat_and_never_taught_then() -> None:
    repeats = Folds().repeats(lessons(61))
    assert [len(folds) for folds in repeats] == [5, 5, 5]
    for folds in repeats:
        assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(61))
        assert all(np.intersect1d(taught, held).size == 0 for taught, held in folds)


def test_folds_have_the_same_share_of_each_class() -> None:
    given = lessons(60)
    for folds in Folds().repeats(given):
        assert all(np.bincount(given.codes[held]).tolist() == [4, 4, 4] for _, held in folds)


def test_items_of_one_group_are_never_on_both_sides() -> None:
    given = lessons(60, groups=np.arange(60) // 4)
    for folds in Folds().repeats(given):
        assert all(np.intersect1d(given.groups[t], given.groups[h]).size == 0 for t, h in folds)


def test_below_40_labels_each_one_is_predicted_from_all_others() -> None:
    (folds,) = Folds().repeats(lessons(39))
    assert all(len(held) == 1 and len(taught) == 38 for taught, held in folds)


def test_a_class_with_one_label_is_always_taught_and_never_held_out() -> None:
    codes = np.array([0, 1] * 24 + [2])
    given = lessons(49, codes=codes)
    assert all(48 in taught and 48 not in held for folds in Folds().repeats(given) for taught, held in folds)
    found = search(given, AUTO, folds=ALL)
    assert found.at == 49
    assert not any(outcome.startswith("left out") for outcome in outcomes(found).values())


def test_losses_are_those_of_the_formulas() -> None:
    given = lessons(4, classes=2)
    p = np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0], [1.0, 0.0]])
    expected = [np.log(2), -np.log(0.1), 0.0, -np.log(0.001)]
    assert Folds().losses(given, np.arange(4), p) == pytest.approx(expected)
    numbers = replace(given, kind="number", codes=np.array([1.0, 2.0, 3.0, 4.0]))
    assert Folds().losses(numbers, np.arange(2), np.array([1.0, 4.0])) == pytest.approx([0.0, 4.0])
    several = replace(given, kind="multi_label", codes=np.array([[1, 0]] * 4))
    assert Folds().losses(several, np.arange(1), np.array([[0.5, 0.5]])) == pytest.approx([np.log(2)])


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_columns", [2, 60])
def test_labels_weigh_as_much_as_the_part_of_the_pool_that_they_stand_for(
    make: Callable[..., Any], n_columns: int
) -> None:
    rng = np.random.default_rng(0)
    place = np.eye(n_columns)[:2] * 100
    pool = make(np.repeat(place, [90, 10], axis=0) + rng.normal(size=(100, n_columns)) / 1000)
    X = make(np.repeat(place, [10, 30], axis=0) + rng.normal(size=(40, n_columns)) / 1000)
    given = replace(lessons(40), X=X, codes=np.arange(40) % 2, pool=pool)
    found = weights(given)
    assert found.mean() == pytest.approx(1)
    assert found[:10].sum() / found.sum() == pytest.approx(0.9, abs=0.05), "nine tenths of the pool lie there"
    held, predicted = np.arange(5, 15), np.full((10, 2), 0.5)
    assert np.allclose(Folds().losses(given, held, predicted), np.log(2) * found[held])
    assert (weights(replace(given, pool=None)) == 1).all()
    assert (weights(replace(given, pool=pool[:0])) == 1).all()


def test_no_label_weighs_more_than_ten_times_and_what_the_pool_has_not_weighs_nothing() -> None:
    places = np.array([[0.0], [100.0], [200.0]])
    pool, X = np.repeat(places[:2], [999, 1000], axis=0), np.repeat(places, [1, 99, 100], axis=0)
    found = weights(replace(lessons(200), X=X, codes=np.arange(200) % 2, pool=np.vstack([pool, places[2:]])))
    assert found[0] / found[1] == pytest.approx(10 / (1000 / 2000 / (99 / 200)), rel=0.01)
    assert found[-1] < 0.01 * found[0]
    alike = weights(replace(lessons(40), X=np.ones((40, 2)), pool=np.ones((50, 2))))
    assert (alike == 1).all(), "constant features are one cluster"


def test_where_classes_count_alike_a_rare_one_weighs_as_much_as_a_common_one() -> None:
    codes = np.repeat([0, 1], [90, 10])
    given = replace(lessons(100, classes=2), codes=codes, even=True)
    held = np.arange(100)
    never, often = np.tile([0.95, 0.05], (100, 1)), np.tile([0.8, 0.2], (100, 1))
    often[95:] = [0.1, 0.9]
    losses = Folds().losses(given, held, often)
    assert losses[:90].sum() == pytest.approx(50 * 2 * 0.2**2)
    assert losses[90:].sum() == pytest.approx(5 * 5 * 2 * 0.8**2 + 5 * 5 * 2 * 0.1**2)
    assert losses.mean() < Folds().losses(given, held, never).mean()
    common = replace(given, even=False)
    assert Folds().losses(common, held, never)[:90].mean() < Folds().losses(common, held, often)[:90].mean()


@pytest.mark.parametrize(("metric", "even"), [("accuracy", False), ("macro_f1", True), ("recall", True)])
def test_the_metric_of_the_target_says_whether_classes_count_alike(tmp_path: Path, metric: str, even: bool) -> None:
    target = {"metric": metric, "value": 0.5, "positive": "red" if metric == "recall" else ""}
    told = settings(target=target, budget={"answers": 60})
    loop = open_loop(tmp_path, oracle(write_points(tmp_path)), told)
    run_to_end(loop)
    assert loop.jobs.of(loop.store.rounds()[-1], rank=False).even == even
    loop.store.close()


# Which candidates there are


@pytest.mark.parametrize(
    ("n", "newest"),
    [(50, {"svm", "logistic", "directions", "lda", "nearest"}), (100, {"forest", "linear"}), (200, {"network"})],
)
def test_the_space_grows_with_the_labels(n: int, newest: set[str]) -> None:
    from active_loop.search.space import admitted

    families = {each.family for each in admitted(candidates(lessons(n), ModelSettings(use="auto")), n)}
    assert newest <= families
    assert ("forest" in families) == (n >= 100)
    assert ("network" in families) == (n >= 200)
    assert "boosting" not in families


def test_directions_learn_the_same_whatever_the_length_of_the_rows() -> None:
    long, given = np.exp(np.random.default_rng(0).normal(size=(100, 1))), lessons(100)
    model, found = ModelSettings(use="auto"), Found("directions(C=5)")
    learned = [fitted(replace(given, X=X), found, model).member_predictions(given.X) for X in (given.X, given.X * long)]
    assert np.allclose(*learned)
    of_sparse = candidates(replace(given, X=sparse.csr_matrix(given.X)), model)
    assert "directions" not in {each.family for each in of_sparse}


@pytest.mark.parametrize("kind", ["choice", "multi_label", "number"])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_every_candidate_of_the_space_learns_its_kind_or_is_left_out_by_name(
    kind: str, make: Callable[..., Any]
) -> None:
    rng, n = np.random.default_rng(0), 60
    codes = {"choice": np.arange(n) % 3, "number": rng.normal(size=n), "multi_label": rng.integers(0, 2, (n, 3))}[kind]
    given = lessons(n, X=make(rng.normal(size=(n, 5))), kind=kind, codes=codes, groups=np.arange(n) % 2)
    model = ModelSettings(use="auto")
    for each in candidates(given, model):
        alone = replace(model, candidates=(each.name,))
        if sparse.issparse(given.X) and each.family in ("lda", "boosting"):
            with pytest.raises(TrainingError, match="works on dense features only"):
                search(given, alone, folds={each.name: 2})
        else:
            found = search(given, alone, folds={each.name: 2})
            assert np.isfinite(found.trials[0].loss or np.nan), each.name
            fitted(given, found, alone).member_predictions(given.X)


def test_a_list_of_names_or_families_narrows_the_space() -> None:
    listed = candidates(lessons(), ModelSettings(use="auto", candidates=("lda", "logistic(C=1)")))
    assert [each.name for each in listed] == ["logistic(C=1)", "lda"]
    with pytest.raises(ConfigError, match='unknown candidate "logistik"; did you mean "logistic"'):
        candidates(lessons(), ModelSettings(use="auto", candidates=("logistik",)))


def test_a_user_may_bring_the_whole_space(module: str) -> None:
    found = search(lessons(), ModelSettings(use="auto", space=f"{module}:plain"))
    assert (found.chosen, outcomes(found)) == ("mine", {"mine": "won"})
    sized = search(lessons(), ModelSettings(use="auto", space=f"{module}:Sized"))
    assert sized.trials[0].parameters == "LogisticRegression(C=60)"
    for name, said in (("twice", "two candidates of one name"), ("nothing", "gives no candidates")):
        with pytest.raises(ConfigError, match=said):
            search(lessons(), ModelSettings(use="auto", space=f"{module}:{name}"))


def test_the_space_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "model-search.md").read_text(encoding="utf-8")
    (tmp_path / "of_the_page.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    given, model = lessons(120), ModelSettings(use="auto", space="of_the_page:mine")
    assert set(outcomes(search(given, model))) >= {"logistic", "bayes", "trees"}
    assert variation(candidates(given, model), "logistic(C=3.2)") is not None
    assert variation(candidates(given, model), "trees(max_features=None)") is not None


def test_a_user_may_bring_the_course_and_the_evaluation(module: str) -> None:
    found = search(lessons(), replace(AUTO, search=f"{module}:Backwards", evaluation=f"{module}:Flat"))
    assert [(trial.candidate, trial.folds, trial.loss) for trial in found.trials] == [
        ("lda", 1, 0.0),
        ("logistic(C=10)", 1, 0.0),
        ("svm", 1, 0.0),
    ]
    assert found.chosen == "lda", "of equals the first"
    assert found.as_record()["search"]["strategy"] == f"{module}:Backwards"


# Variations


def test_a_variation_is_made_again_from_its_name_alone() -> None:
    listed = candidates(lessons(500), ModelSettings(use="auto"))
    rng = np.random.default_rng(0)
    for template in (each for each in listed if each.ranges):
        drawn = template.varied({path: range_.drawn(rng) for path, range_ in template.ranges.items()})
        again = variation(listed, drawn.name)
        assert again is not None
        assert repr(again.estimator) == repr(drawn.estimator), drawn.name
    assert variation(listed, "logistic(C=3.2)").estimator[-1].C == 3.2  # type: ignore[union-attr]
    for name in ("logistic(D=3.2)", "logistic(C=", "logistic(C=open('x'))", "lda(shrinkage=0.1)", "nothing(C=1)"):
        assert variation(listed, name) is None, name


def test_a_variation_may_be_named_in_the_settings() -> None:
    (one,) = candidates(lessons(), ModelSettings(use="auto", candidates=("logistic(C=3.2)",)))
    assert one.name == "logistic(C=3.2)"
    with pytest.raises(ConfigError, match="unknown candidate"):
        candidates(lessons(), ModelSettings(use="auto", candidates=("logistic(D=3.2)",)))


@over(low=st.floats(1e-6, 1e3), factor=st.floats(1, 1e6), seed=st.integers(0, 99), log=st.booleans())
def test_a_drawn_value_lies_between_the_ends_and_survives_its_name(
    low: float, factor: float, seed: int, log: bool
) -> None:
    range_ = Between(low, low * factor, log)
    value = range_.drawn(np.random.default_rng(seed))
    assert low <= value <= low * factor
    assert ranges.read(ranges.called("x", {"step__C": value})) == {"C": value}


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_variations_are_tried_from_500_labels_on_and_the_same_again(name: str) -> None:
    model = ModelSettings(use="auto", search=name, candidates=("logistic",), seconds=2.0)
    few = search(lessons(120), model, clock=ticking(0.001))
    assert not {trial.candidate for trial in few.trials} - LISTED
    found = search(lessons(500), model, clock=ticking(0.015))
    varied = [trial for trial in found.trials if trial.candidate not in LISTED]
    assert varied
    assert all(trial.folds in (0, 5, 10, 15) or trial.outcome == "cut off" for trial in varied)
    again = search(lessons(500), model, None, Found.folds_of(found.as_record()), ticking(9.0))
    assert without_seconds(again) == without_seconds(found)


def test_a_variation_that_was_found_is_fitted_and_is_the_model_of_the_next_search() -> None:
    model = ModelSettings(use="auto", candidates=("logistic", "svm"))
    found = Found("logistic(C=0.123)", at=60)
    assert "LogisticRegression(C=0.123" in fitted(lessons(), found, model).fingerprint
    again = search(lessons(90), model, found)
    assert again.trials[0].candidate == "logistic(C=0.123)", "the model before is tried first"


def test_parzen_estimators_come_closer_to_what_is_best_than_chance() -> None:
    """Of sixty proposals with the loss (log C − log 3)² the later thirty are closer, on average over five seeds."""

    def mean_loss(course: Random | TPE) -> float:
        listed = [each for each in candidates(lessons(500), ModelSettings(use="auto")) if each.name == "logistic(C=10)"]
        losses = []
        for seed in range(5):
            steps = course.variations(listed, {"logistic(C=10)": 1.0}, 500, seed)
            each = next(steps)
            for number in range(60):
                loss = float(np.log(each.estimator[-1].C / 3) ** 2)
                losses += [loss] if number >= 30 else []
                each = steps.send(loss)
        return float(np.mean(losses))

    assert mean_loss(TPE()) < 0.5 * mean_loss(Random())


def test_without_optuna_tpe_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r'Optuna is not installed: pip install "active-loop\[automl\]"'):
        search(lessons(), replace(AUTO, search="tpe"))


def test_where_the_best_memorises_tamer_candidates_are_tried_and_named() -> None:
    rng = np.random.default_rng(0)
    noise = lessons(80, X=rng.normal(size=(80, 30)), codes=rng.integers(0, 2, 80), classes=2)
    model = ModelSettings(use="auto", candidates=("svm", "nearest"))
    found = search(noise, model)
    assert found.tamed is not None
    assert found.tamed.inside == 1.0
    assert found.tamed.outside < 0.7
    assert found.tamed.tried == ("svm(C=1.0)", "nearest(n_neighbors=5)")
    assert found.tamed.took == " + ".join(name for name in Mixture.of(found.chosen).parts if name in found.tamed.tried)
    assert found.as_record()["search"]["tamed"]["tried"] == found.tamed.tried
    again = search(noise, model, None, Found.folds_of(found.as_record()), ticking(9.0))
    assert without_seconds(again) == without_seconds(found)


def test_where_the_best_does_not_memorise_nothing_is_tamed() -> None:
    found = search(lessons(200), ModelSettings(use="auto", candidates=("svm", "logistic", "lda")))
    assert found.tamed is None
    assert "tamed" not in found.as_record()["search"]
    assert not any(trial.candidate == "svm(C=1.0)" for trial in found.trials)


# Bad input


def test_an_estimator_without_probabilities_is_left_out_by_name(module: str) -> None:
    found = search(lessons(), ModelSettings(use="auto", space=f"{module}:hard"))
    assert found.chosen == "mine"
    assert outcomes(found)["ridge"].startswith("left out: RidgeClassifier has no predict_proba")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("misspelt", r'the ranges of mine name what it has not: unknown parameter "CC"; did you mean "C"'),
        ("upside_down", r"Between\(10, 1\) is no range: the first is the lower end"),
        ("below_zero", r"Between\(-1, 1\) is no range: .* both are above 0"),
        ("valueless", "give at least one value"),
    ],
)
def test_ranges_that_are_none_are_refused_in_a_sentence(module: str, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        search(lessons(), ModelSettings(use="auto", space=f"{module}:{name}"))


def test_a_combination_that_cannot_be_is_left_out_by_name_and_the_others_go_on(module: str) -> None:
    model = ModelSettings(use="auto", space=f"{module}:impossible", search="random")
    found = search(lessons(500), model, clock=ticking(0.05))
    assert found.chosen == "mine"
    (varied,) = {trial.outcome for trial in found.trials if trial.candidate != "mine"}
    assert varied.startswith("left out: LogisticRegression cannot be fitted to 400 rows x 4 features")


def test_if_all_candidates_fail_each_is_named_with_its_reason(module: str) -> None:
    with pytest.raises(TrainingError) as raised:
        search(lessons(), ModelSettings(use="auto", space=f"{module}:broken"))
    said = str(raised.value)
    assert said.startswith("cannot train: no candidate can be fitted to 60 labels (broken: Broken cannot be fitted to ")
    assert "list index out of range; ridge: RidgeClassifier has no predict_proba" in said


def test_constant_features_leave_a_model_all_the_same() -> None:
    given = lessons(60, X=np.ones((60, 4)))
    found = search(given, ModelSettings(use="auto"))
    assert found.at == 60
    assert np.isfinite(fitted(given, found, AUTO).member_predictions(given.X)).all()


@pytest.mark.parametrize(("n", "classes"), [(6, 8), (1, 3), (0, 2), (2, 2)])
def test_more_classes_than_labels_leave_the_first_candidate_uncompared(n: int, classes: int) -> None:
    given = lessons(n, classes=classes)
    found = search(given, AUTO)
    assert (found.chosen, found.at) == ("svm", 0)
    assert fitted(given, found, AUTO).member_predictions(np.zeros((5, 4))).shape == (1, 5, classes)


def test_labels_that_the_chosen_model_cannot_learn_are_learned_by_the_first_that_can() -> None:
    """A new class with a single label: three folds of it, which the calibration of the linear machine needs, fail."""
    model = ModelSettings(use="auto", candidates=("linear", "svm"))
    given = lessons(61, codes=np.array([0, 1] * 30 + [2]))
    learner = fitted(given, Found("linear"), model)
    assert learner.fingerprint.startswith("RBFMachines")
    assert "CalibratedClassifierCV" in fitted(lessons(60), Found("linear"), model).fingerprint


# When the model changes


NOUGHT = {"kind": "number", "codes": np.zeros(60)}
"""Numbers that are all 0: the loss of a prediction is its square."""


def tally(name: str, *losses: float) -> Tally:
    each = np.resize(np.array(losses), 60)
    return Tally(Candidate(name, DummyClassifier()), [each], [np.sqrt(each)], folds=5)


def decided(incumbent: str, beaten: bool, most: int = 1, **losses: tuple[float, ...]) -> tuple[str, str]:
    tallies = [tally(name, *each) for name, each in losses.items()]
    found = verdict(tallies, lessons(60, **NOUGHT), Folds(), incumbent, beaten, most)
    return found.chosen, found.challenger


def test_the_model_changes_only_after_it_was_clearly_beaten_twice_in_a_row() -> None:
    worse, better = (1.0, 1.1), (0.5, 0.4)
    assert decided("old", False, old=worse, new=better) == ("old", "new")
    assert decided("old", True, old=worse, new=better) == ("new", "")
    assert decided("old", True, old=better, new=worse) == ("old", "")
    assert decided("", False, old=worse, new=better) == ("new", "")
    assert decided("gone", False, old=worse, new=better) == ("new", "")


def test_less_than_one_standard_error_of_the_paired_difference_changes_nothing() -> None:
    """Sixty differences of ±1 around 0.1: the standard error is 1/√59 = 0.13; around 0.2 they are clear."""
    for shift, expected in ((0.1, ("old", "")), (0.2, ("old", "new"))):
        assert decided("old", False, old=(2.0, 2.0), new=(3.0 - shift, 1.0 - shift)) == expected


def test_a_mixture_is_the_incumbent_by_what_its_parts_predict() -> None:
    """The square of the mean of 0 and 2 is 1: the mixture's loss is neither of those of its parts, 0 and 4."""
    parts = {"a": (0.0, 4.0), "b": (4.0, 0.0)}
    assert decided("0.5 a + 0.5 b", True, **parts, new=(0.5, 0.4)) == ("new", "")
    assert decided("0.5 a + 0.5 b", True, **parts, new=(1.2, 1.1)) == ("0.5 a + 0.5 b", "")


def test_the_standard_error_is_that_of_groups_where_items_go_together() -> None:
    """Ten groups of six equal differences are ten differences, not sixty."""
    steps = np.repeat(np.random.default_rng(0).normal(size=10), 6)
    given = lessons(60, groups=np.arange(60) // 6, **NOUGHT)
    *_, other = verdict([tally("a", *(0 * steps)), tally("b", *(steps + 9))], given, Folds(), "a", False, 1).trials
    assert other.se == pytest.approx(np.std(steps[::6], ddof=1) / np.sqrt(10), abs=1e-6)


# Mixtures


def test_a_mixture_is_at_least_as_good_as_the_best_candidate_on_what_was_held_out() -> None:
    given, evaluation = lessons(120), Folds()
    tallies, _ = tried(candidates(given, AUTO), given, evaluation, Halving(), Limit(60.0, ticking(0.0)))
    complete, told = {each.candidate.name: each for each in tallies}, Told(given, evaluation)
    mixture = best_mixture(complete, told, 4)
    assert mixture.tally(complete, told).loss <= min(each.loss for each in tallies)
    assert sum(mixture.parts.values()) == pytest.approx(1)
    assert len(best_mixture(complete, told, 1).parts) == 1


def test_what_differs_comes_into_a_mixture_though_it_is_weak_alone() -> None:
    """Errors of +1 and of −1.5: two fifths of the second take most of the first away; a second +1.1 takes nothing."""
    told = Told(lessons(60, **NOUGHT), Folds())
    complete = {
        name: Tally(Candidate(name, None), [np.full(60, error**2)], [np.full(60, error)])
        for name, error in (("first", 1.0), ("like it", 1.1), ("weak", -1.5))
    }
    assert best_mixture(complete, told, 4).parts == {"first": 0.6, "weak": 0.4}


def test_a_mixture_predicts_the_weighted_mean_of_its_parts() -> None:
    given, model = lessons(60), ModelSettings(use="auto")
    names = {"svm": 0.6, "lda": 0.3, "logistic(C=1)": 0.1}
    found = Found(Mixture(names).name)
    assert found.chosen == "0.6 svm + 0.3 lda + 0.1 logistic(C=1)"
    assert Mixture.of(found.chosen).parts == names
    alone = [fitted(given, Found(name), model).member_predictions(given.X)[0] for name in names]
    mixed = fitted(given, found, model).member_predictions(given.X)
    assert mixed.shape == (1, 60, 3)
    np.testing.assert_allclose(mixed[0], np.tensordot(list(names.values()), np.stack(alone), 1), atol=1e-12)


def test_a_mixture_of_which_a_part_cannot_be_fitted_leaves_the_other_part() -> None:
    given = lessons(61, codes=np.array([0, 1] * 30 + [2]))
    learner = fitted(given, Found("0.7 linear + 0.3 lda"), ModelSettings(use="auto", candidates=("linear", "lda")))
    assert learner.fingerprint.startswith("LinearDiscriminantAnalysis")


def test_of_several_labels_the_best_alone_is_chosen() -> None:
    given = lessons(60, kind="multi_label", codes=np.random.default_rng(0).integers(0, 2, (60, 3)))
    found = search(given, ModelSettings(use="auto", candidates=("svm", "logistic")))
    assert len(Mixture.of(found.chosen).parts) == 1


def test_chances_are_tempered_where_that_helps_on_items_that_it_was_not_chosen_by() -> None:
    """Chances of 0.999 that hold in 3 of 4 cases are too sure; those of a model that knows how sure to be stay."""
    rng = np.random.default_rng(0)
    given = lessons(200, classes=2, codes=np.arange(200) % 2)
    right = np.where(rng.random(200) < 0.75, given.codes, 1 - given.codes)
    told = Told(given, Folds())
    for chance, changed in ((0.999, True), (0.75, False)):
        predicted = np.where(np.arange(2) == right[:, None], chance, 1 - chance)
        complete = {"a": Tally(Candidate("a", None), [told.losses(predicted)], [predicted])}
        mixture = calibrated(Mixture({"a": 1.0}), complete, told)
        assert (mixture.temperature > 3) == changed, mixture
        assert Mixture.of(mixture.name) == mixture


def test_a_tempered_model_is_fitted_and_what_is_likeliest_stays() -> None:
    given, model = lessons(60), ModelSettings(use="auto")
    plain, tame = (fitted(given, Found(name), model).member_predictions(given.X)[0] for name in ("svm", "svm, T=2.5"))
    assert (plain.argmax(axis=1) == tame.argmax(axis=1)).all()
    np.testing.assert_allclose(tame, tempered(plain, 2.5), atol=1e-12)
    assert tame.max() < plain.max()


def test_a_model_is_searched_for_again_only_with_a_quarter_more_labels() -> None:
    before = Found("lda", ("svm",), at=60, challenger="svm")
    for n, searched in ((74, False), (75, True)):
        found = search(lessons(n), AUTO, before, ALL if searched else None)
        assert bool(found.trials) == searched
        assert found.at == (n if searched else 60)
    assert search(lessons(60), AUTO, Found("gone", at=60), ALL).trials, "a model that there is no more is not kept"


# Time, and the same again


def ticking(step: float) -> Callable[[], float]:
    """A clock that moves by one step at each reading."""
    readings = count()
    return lambda: next(readings) * step


def test_the_time_ends_a_search_with_the_best_that_was_completed() -> None:
    found = search(lessons(), AUTO, clock=ticking(100.0))
    assert outcomes(found) == {"svm": "won", "logistic(C=10)": "cut off", "lda": "cut off"}
    assert [trial.folds for trial in found.trials] == [5, 0, 0]


class Slow(LogisticRegression):
    """A model whose every fit takes a minute."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Slow:
        for _ in range(600):
            time.sleep(0.1)
        return super().fit(X, y, sample_weight)


def test_a_fold_that_is_not_done_in_time_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [Candidate("quick", LogisticRegression()), Candidate("slow", Slow())]
    monkeypatch.setattr(Growing, "candidates", lambda *_: listed)
    before = signal.getsignal(signal.SIGALRM)
    found = search(lessons(), ModelSettings(use="auto", seconds=2.0))
    assert outcomes(found) == {"quick": "won", "slow": "cut off"}
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_numbers_are_not_foretold_beyond_those_that_were_learned() -> None:
    X = np.linspace(0, 1, 40)[:, None]
    given = lessons(40, kind="number", codes=3 * X[:, 0], X=X)
    far = np.array([[-50.0], [0.5], [50.0]])
    for name in ("ridge", "network(64)"):
        told = fitted(given, Found(name), ModelSettings(use="auto")).member_predictions(far)[0]
        assert told[[0, 2]].tolist() == [0.0, 3.0], name
        assert told[1] == pytest.approx(1.5, abs=0.2), name


def test_sparse_rows_are_tried_in_their_own_span_with_the_same_losses() -> None:
    rng = np.random.default_rng(0)
    words = sparse.random(80, 2000, 0.02, "csr", rng=rng) + sparse.csr_matrix(np.eye(80, 2000) * 0.1)
    codes = np.asarray(words[:, :40].sum(axis=1)).ravel() > np.asarray(words[:, 40:80].sum(axis=1)).ravel()
    given = lessons(80, X=sparse.csr_matrix(words), codes=codes.astype(int), classes=2)
    model = ModelSettings(use="auto", candidates=("logistic", "nearest", "linear"))
    listed = candidates(given, model)
    assert all(each.turns for each in listed)
    in_span, in_words = (
        tried([replace(each, turns=turns) for each in listed], given, Folds(), Halving(), Limit(9e9, ticking(0.0)))[0]
        for turns in (True, False)
    )
    for one, other in zip(in_span, in_words, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-3), one.candidate.name
    assert not any(each.turns for each in candidates(lessons(80), model)), "dense rows are as they are"


@pytest.mark.parametrize("step", [0.0, 0.03, 0.05, 0.1])
def test_the_same_folds_find_the_same_model_bit_for_bit_whatever_the_time(step: float) -> None:
    found = search(lessons(120), AUTO, Found("lda", at=60, challenger="svm"), clock=ticking(step))
    folds = Found.folds_of(found.as_record())
    again = search(lessons(120), AUTO, Found("lda", at=60, challenger="svm"), folds, ticking(9.0))
    assert without_seconds(again) == without_seconds(found)


def test_the_limit_grows_with_the_labels() -> None:
    assert [seconds(AUTO, n) for n in (0, 200, 1100, 2000, 9000)] == [5.0, 5.0, 17.5, 30.0, 30.0]


def test_the_worse_half_is_dropped_after_each_repeat_from_500_labels_on_but_never_the_incumbent() -> None:
    losses = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    assert set(Halving().remaining(losses, "d", 499)) == set(losses)
    assert set(Halving().remaining(losses, "d", 500)) == {"a", "b", "d"}


# In a loop


def ended(folder: Path, runner: Any = None, **changes: Any) -> Any:
    model = {"use": "auto", "candidates": ("svm", "logistic(C=10)"), "seconds": 1000.0}
    told = settings(target={"value": 0.999}, budget={"answers": 70}, model=model, **changes)
    loop = open_loop(folder, oracle(write_points(folder, n=120)), told, runner=runner)
    run_to_end(loop)
    return loop


def test_a_round_records_what_was_tried_and_is_computed_again_with_the_same_model(tmp_path: Path) -> None:
    loop = ended(tmp_path)
    rounds = [each for each in loop.store.rounds() if each.number != COLD_START]
    searched = [each for each in rounds if each.record["trials"]]
    assert 1 < len(searched) < len(rounds), "again with a quarter more labels, and not in each round"
    for each in (searched[-1], rounds[-1]):
        assert set(each.record["search"]) >= {"space", "strategy", "evaluation", "near", "at", "challenger"}
        for job in (loop.jobs.of(each), loop.jobs.of(each, rank=False)):
            result = job.run()
            assert result.record["model"] == each.record["model"]
            assert result.record["chosen"] == each.record["chosen"]
    again = loop.jobs.of(searched[-1]).run().record
    for one, other in zip(again["trials"], searched[-1].record["trials"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.process
def test_another_process_finds_the_same_model(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    here = ended(tmp_path / "here")
    job = here.jobs.of(next(each for each in reversed(here.store.rounds()) if each.record["trials"]))
    done, said = threading.Event(), list[str]()
    runner = ProcessRunner(done.set, said.append)
    try:
        runner.submit(job)
        assert done.wait(60)
        there = runner.poll()
    finally:
        runner.close()
    assert re.match(r"\d of 2 models tried, the best so far is .+ \(\d+ of \d+ s\)$", said[0]), said
    own = job.run()
    assert there.record["model"] == own.record["model"]
    assert np.array_equal(there.test_mean, own.test_mean)
    for one, other in zip(there.record["trials"], own.record["trials"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_round_by_a_committee_strategy_is_asked_by_the_models_that_cannot_be_told_apart(tmp_path: Path) -> None:
    loop = ended(tmp_path, query={"strategy": "vote_entropy"})
    last = loop.store.rounds()[-1].record
    members = len(last["search"]["near"])
    assert 2 <= members <= 5
    assert f"; {members} members;" in last["model"]


def test_no_reserved_item_reaches_the_search(tmp_path: Path) -> None:
    class Watched(InlineRunner):
        def submit(self, job: Any) -> None:
            if isinstance(job, RoundJob):
                assert np.intersect1d(job.labelled, job.test).size == 0
                assert len(job.groups if job.groups is not None else ()) in (0, len(job.labelled))
                jobs.append(job)
            super().submit(job)

    jobs: list[RoundJob] = []
    ended(tmp_path, Watched())
    assert jobs
    after_the_end = [job for job in jobs if job.trials == {}]
    assert all(job.searched for job in after_the_end)


def test_settings_of_a_search_are_read_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.toml"
    told = settings(model={"use": "auto", "candidates": ("svm", "logistic")})
    write_points(tmp_path)
    write_settings(told, path)
    assert read_settings(path).model.candidates == ("svm", "logistic")
    for model, said in (
        ({"use": "auto, svm"}, "name it alone"),
        ({"use": "auto", "seconds": 0.0}, "model.seconds is 0"),
        ({"use": "auto", "candidates": ("svn",)}, 'unknown candidate "svn"; did you mean "svm"'),
        ({"use": "auto", "space": "large"}, 'model.space: unknown name "large"'),
    ):
        with pytest.raises(ConfigError, match=said):
            write_settings(settings(model=model), path)
