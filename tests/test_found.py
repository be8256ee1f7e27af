"""What a random sample of the rest proves about a search, held against every sample that there can be."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from active_loop.evaluate.found import Search, draws_needed, least_left, most_left


@pytest.mark.parametrize(("rest", "drawn", "level"), list(product([40], [0, 1, 10, 25, 40], [0.3, 0.05, 0.01])))
def test_what_is_left_is_bounded_with_the_promised_chance_whatever_there_is(
    rest: int, drawn: int, level: float
) -> None:
    for of_class in range(rest + 1):
        hits = np.arange(max(0, drawn - rest + of_class), min(drawn, of_class) + 1)
        chance = stats.hypergeom.pmf(hits, rest, of_class, drawn)
        too_few = np.array([most_left(rest, drawn, int(hit), level) < of_class for hit in hits])
        too_many = np.array([least_left(rest, drawn, int(hit), level) > of_class for hit in hits])
        assert chance[too_few].sum() <= level + 1e-12
        assert chance[too_many].sum() <= level + 1e-12


@given(st.integers(1, 60), st.data())
def test_the_bound_is_the_largest_number_that_the_sample_allows(rest: int, data: st.DataObject) -> None:
    drawn = data.draw(st.integers(0, rest))
    hits = data.draw(st.integers(0, drawn))
    most = most_left(rest, drawn, hits, 0.05)
    allowed = [k for k in range(hits, rest - drawn + hits + 1) if stats.hypergeom.cdf(hits, rest, k, drawn) > 0.05]
    assert most == max(allowed, default=hits)


def test_a_search_with_its_target_just_missed_is_rarely_certified() -> None:
    """Exactly: 38 of 41 are found (0.927), 3 left among 500; the chance that a sample proves 0.95 is at most 0.05."""
    for drawn in range(0, 501, 20):
        hits = np.arange(0, min(3, drawn) + 1)
        proven = [Search(38, 500, drawn, int(hit)).bound(0.05) >= 0.95 for hit in hits]
        wrong = [(38 + hit) / 41 < 0.95 for hit in hits]
        chance = stats.hypergeom.pmf(hits, 500, 3, drawn)
        assert chance[np.array(proven) & np.array(wrong)].sum() <= 0.05


def test_so_many_draws_without_a_hit_prove_the_target_and_one_less_does_not() -> None:
    search = Search(found=39, rest=1900)
    n = draws_needed(search, 0.95, 0.025)
    assert n is not None
    assert Search(39, 1900, n).bound(0.025) >= 0.95 > Search(39, 1900, n - 1).bound(0.025)
    assert draws_needed(Search(found=0, rest=1900), 0.95, 0.025) is None
    assert draws_needed(Search(found=39, rest=1900, waiting=3), 0.95, 0.025) is None, "3 of 42 may be lost already"
    assert draws_needed(Search(found=39, rest=0), 0.95, 0.025) == 0


def test_hits_count_as_found_and_what_has_no_answer_does_not() -> None:
    plain = Search(39, 1000, 500, hits=2)
    assert plain.value() == pytest.approx(41 / 43)
    lost = Search(39, 1000, 500, hits=1, lost=1)
    assert lost.value() == pytest.approx(40 / 43)
    assert lost.bound(0.05) < plain.bound(0.05)
    assert Search(39, 1000, 500, hits=2, waiting=5).bound(0.05) == pytest.approx(
        41 / (44 + most_left(1000, 500, 2, 0.05))
    )


def test_the_value_is_the_likeliest_share() -> None:
    for drawn, hits in [(79, 1), (40, 2), (10, 3), (1, 1), (80, 4)]:
        chances = [stats.hypergeom.pmf(hits, 80, k, drawn) for k in range(81)]
        likeliest = int(np.argmax(chances))
        found = Search(10, 80, drawn, hits).value()
        assert chances[round((10 + hits) / found) - 10] == pytest.approx(chances[likeliest])


def test_a_rest_that_was_read_to_its_end_is_known() -> None:
    everything = Search(39, 200, 200, hits=1)
    assert (everything.value(), everything.bound(0.01), everything.upper(0.01)) == (1.0, 1.0, 1.0)
    assert everything.chance(1.0) == 1.0
    assert Search(39, 0).bound(0.01) == 1.0
    assert Search(39, 200, 200, hits=1, lost=1).bound(0.01) == pytest.approx(40 / 41)
    nothing = Search(0, 200, 200)
    assert (nothing.value(), nothing.bound(0.01), nothing.chance(0.9)) == (0.0, 0.0, 0.0)


def test_before_a_draw_nothing_is_said_of_the_rest() -> None:
    untested = Search(39, 200)
    assert (untested.value(), untested.bound(0.05), untested.upper(0.05)) == (0.0, pytest.approx(39 / 239), 1.0)
    assert untested.chance(0.95) < 0.2


@given(st.integers(1, 40), st.integers(1, 300), st.data())
def test_value_and_bounds_are_in_order(found: int, rest: int, data: st.DataObject) -> None:
    drawn = data.draw(st.integers(1, rest))
    hits = data.draw(st.integers(0, min(drawn, 5)))
    search = Search(found, rest, drawn, hits)
    assert 0 <= search.bound(0.025) <= search.value() <= search.upper(0.025) <= 1
    assert 0 <= search.chance(0.9) <= 1
    assert search.claim(0.9, 0.05).bound == search.bound(0.05)


def test_the_chance_is_that_of_a_simulation() -> None:
    """20,000 populations by the prior, of those that give the sample that was seen; 4 standard errors."""
    random = np.random.default_rng(5)
    rest, drawn, hits, found = 100, 40, 1, 20
    share = random.beta(0.5, 0.5, size=2_000_000)
    of_class = random.binomial(rest, share)
    seen = random.hypergeometric(of_class, rest - of_class, drawn)
    left = of_class[seen == hits]
    reached = (found + hits) / (found + left) >= 0.9
    chance = Search(found, rest, drawn, hits).chance(0.9)
    assert len(left) > 10_000
    assert abs(reached.mean() - chance) < 4 * math.sqrt(chance * (1 - chance) / len(left))
