"""What is measured: every row of the page on speed and memory, and the figure that it has to reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from peers import Job
from turns import Ratio, Result, pair_ratio

MILLION, TENTH = 1_000_000, 100_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One number to reach; `kind` says of what, `bound` how much.

    "faster": the other's seconds / ours, at least. "within": our seconds / the other's, at most. "seconds", "extra_mb",
    "anonymous_mb", "extra_share" (of the input): ours, less than. "works": that it comes to an end.
    """

    kind: str
    bound: float = 0.0

    @property
    def text(self) -> str:
        return {
            "faster": f"≥ {self.bound:g} × faster",
            "within": f"≤ {self.bound:g} × its time",
            "seconds": f"< {self.bound:g} s",
            "extra_mb": f"extra < {self.bound:g} MB",
            "anonymous_mb": f"anonymous < {self.bound:g} MB",
            "extra_share": f"extra < {self.bound:.0%} of the input",
            "works": "works",
        }[self.kind]

    def reached(self, ours: Result, theirs: Result | None) -> bool | None:
        """Whether it was; None where the other one gave nothing to compare with."""
        if ours.failed:
            return False
        if self.kind in ("faster", "within"):
            return self._ratio_reached(ours, theirs)
        seen = {
            "seconds": ours.median_s,
            "extra_mb": ours.extra_mb,
            "anonymous_mb": ours.anonymous_mb,
            "extra_share": ours.extra_mb / max(ours.input_mb, 1e-9),
        }
        return self.kind == "works" or seen[self.kind] < self.bound

    def _ratio_reached(self, ours: Result, theirs: Result | None) -> bool | None:
        if theirs is None:
            return None
        if theirs.failed:
            # One that was stopped for its time is slower than that time; it may be enough to know.
            enough = self.kind == "faster" and theirs.over_s >= self.bound * ours.median_s
            return True if theirs.over_s and enough else None
        ratio = ratio_of(self.kind, ours, theirs).median
        return ratio >= self.bound if self.kind == "faster" else ratio <= self.bound


def ratio_of(kind: str, ours: Result, theirs: Result) -> Ratio:
    """How many times faster ours is, pair by pair; for "within", how many times the other's time it takes."""
    if kind == "within":
        return pair_ratio(ours.seconds, theirs.seconds)
    return pair_ratio(theirs.seconds, ours.seconds)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the page: a job, who else does it ("" for nobody), and the figures to reach."""

    job: Job
    other: str = ""
    figures: tuple[Figure, ...] = ()

    @property
    def kind(self) -> str:
        return "within" if self.other == "numpy" else "faster"


@dataclass(frozen=True, slots=True)
class Group:
    """Rows below one heading, with what has to be known to read them."""

    heading: str
    text: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A row and what came out."""

    row: Row
    ours: Result
    theirs: Result | None


def faster(times: float) -> Figure:
    return Figure("faster", times)


def versus(job: Job, *others: tuple[str, float], more: tuple[Figure, ...] = ()) -> tuple[Row, ...]:
    """A row for each (library, how many times faster; 0 for no figure); the first one has the other figures as well."""
    rows = [Row(job, other, (faster(times),) if times else ()) for other, times in others]
    return (replace(rows[0], figures=(*rows[0].figures, *more)), *rows[1:])


def scores() -> Iterator[Row]:
    for name, others in {
        "least_confidence": (("modAL", 4), ("scikit-activeml", 50), ("ALiPy", 0), ("Baal", 0)),
        "margin": (("modAL", 4), ("scikit-activeml", 50), ("ALiPy", 0), ("Baal", 0)),
    }.items():
        yield Row(Job(name, MILLION), "numpy", (Figure("within", 5),))
        yield from versus(Job(name, MILLION), *others)
    yield from versus(Job("entropy", MILLION), ("modAL", 4), ("scikit-activeml", 0), ("ALiPy", 0), ("Baal", 0))
    yield Row(Job("least_confidence", TENTH), "small-text")
    yield Row(Job("margin", TENTH), "small-text")
    yield Row(Job("entropy", 10_000), "small-text")
    yield from versus(Job("margin", 1000, k=10), ("modAL", 0), ("scikit-activeml", 0))


def committees() -> Iterator[Row]:
    flat = (Figure("extra_share", 0.1),)
    votes, members = (Job("vote_entropy", MILLION, given) for given in ("votes", "members"))
    yield from versus(votes, ("modAL", 50), ("scikit-activeml", 0), more=flat)
    yield from versus(members, ("modAL", 50), more=flat)
    yield from versus(Job("consensus_entropy", MILLION, "members"), ("modAL", 8), more=flat)
    yield from versus(Job("kl_max", MILLION, "members"), ("modAL", 8), more=flat)
    yield from versus(Job("kl_mean", MILLION, "members"), ("Baal", 5), ("scikit-activeml", 25), more=flat)


def k_centers() -> Iterator[Row]:
    yield from versus(Job("k_center", TENTH, "X", d=64), ("ALiPy", 7), ("scikit-activeml", 10))
    yield from versus(Job("k_center", 10_000, "X", d=64), ("small-text", 0))
    yield Row(Job("k_center", MILLION, "X", d=64), "numpy", (Figure("within", 1.3),))


def badges() -> Iterator[Row]:
    yield Row(Job("badge", TENTH, "X proba", d=64), "scikit-activeml", (faster(40), Figure("extra_mb", 100)))
    yield Row(Job("badge", TENTH, "X proba", classes=100, d=64), "", (Figure("works"),))


def ranked_batches() -> Iterator[Row]:
    yield Row(Job("ranked_batch", 10_000, "X proba", d=64), "modAL", (faster(40),))
    yield Row(Job("ranked_batch", TENTH, "X proba", d=64), "modAL", (faster(40),))
    yield Row(Job("ranked_batch", TENTH, "X proba", d=64, k=10), "modAL")


def covers() -> Iterator[Row]:
    bounds = (Figure("seconds", 10), Figure("extra_mb", 1000))
    yield Row(Job("typiclust", TENTH, "X", d=64), "scikit-activeml", bounds)
    yield Row(Job("max_herding", TENTH, "X", d=64), "scikit-activeml", bounds)
    yield Row(Job("max_herding", 3000, "X", d=64), "scikit-activeml")
    yield Row(Job("density", TENTH, "X proba", d=64), "modAL", bounds)
    yield Row(Job("density", 10_000, "X proba", d=64), "modAL")


def others() -> Iterator[Row]:
    yield Row(Job("random", MILLION))
    yield Row(Job("ratio", MILLION))
    yield Row(Job("variation_ratio", MILLION, "members"))
    yield Row(Job("kmeans", TENTH, "X", d=64))
    for name in ("cluster_margin", "uncertainty_herding"):
        yield Row(Job(name, TENTH, "X proba", d=64))
    yield Row(Job("prob_cover", TENTH, "X", d=64))


def beyond_memory() -> Iterator[Row]:
    job = Job("margin", 10 * MILLION, "map")
    yield Row(job, "numpy", (Figure("anonymous_mb", 500),))
    yield Row(job, "modAL")


def starts() -> Iterator[Row]:
    yield Row(Job("help", 0, "start"), "", (Figure("seconds", 0.5),))
    for other in ("modAL", "scikit-activeml", "small-text", "ALiPy", "Baal"):
        yield Row(Job("import", 0, "start"), other)


GROUPS = (
    Group(
        "Scores of one model",
        "Beside numpy the work is `P.sum()`, one reading of the same array: less is not possible. The rows with 1000 "
        "items show what the checks and the explanations cost where there is hardly anything to compute.",
        tuple(scores()),
    ),
    Group(
        "Scores of a committee",
        "Five members. Given members, everybody starts from their probabilities, in the layout of its own committee; "
        "given votes, from the votes, ours through the door that modAL calls, and the input is what the votes take up. "
        "`kl_mean` is BALD with the members as draws.",
        tuple(committees()),
    ),
    Group("k-center", "Beside numpy the work is 100 products `X @ v`, one reading of X per pick.", tuple(k_centers())),
    Group("BADGE", "", tuple(badges())),
    Group("Ranked batch", "", tuple(ranked_batches())),
    Group("Cover and density", "A row that fell over did so under the cap on memory or time.", tuple(covers())),
    Group("The other strategies", "Alone, at the size of their kin above.", tuple(others())),
    Group(
        "Pools bigger than memory",
        "The probabilities are a file of 800 MB, mapped into memory. Shown is the process's peak of anonymous memory: "
        "pages of the file may be dropped at any time and do not count. Beside numpy the work is one sum over the map.",
        tuple(beyond_memory()),
    ),
    Group("Start", "A new process from start to end, and its peak of memory.", tuple(starts())),
)

ROWS = tuple(row for group in GROUPS for row in group.rows)
