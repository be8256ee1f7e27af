"""What is proven of the items that a model answers alone, those of which it is sure enough.

From which confidence on it is sure enough was set on labels to learn from. The share that is right among the test items
of a look that reach it is one more claim, and each such claim is recorded and spends error of its own: another model or
another threshold on the same answers is another chance to be lucky. Nothing here chooses a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .domain import Look
from .language import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tested: a model by its fingerprints, and from which confidence on it answers alone."""

    model: str
    features: str
    data: str
    least: float


@dataclass(frozen=True, slots=True)
class Alone:
    """The `number`-th test of a threshold in the life of a loop, on the `total` test items of look `look`.

    `n` of them reach the threshold, and `right` of these are predicted rightly. With an error of `level` that share is
    at least `bound` of all such items; `alpha` is the error of all such tests together. `is_target` says that `goal` is
    what the look itself tested: any other one was named when the answers were there to be seen.
    """

    number: int
    look: int
    tried: Tried
    goal: float
    is_target: bool
    total: int
    n: int
    right: int
    level: float
    alpha: float
    bound: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Alone:
        """What `as_dict` wrote."""
        return cls(**{**body, "tried": Tried(**body["tried"])})


def judge(
    number: int,
    look: Look,
    tried: Tried,
    goal: float,
    right: NDArray[np.bool_],
    reach: NDArray[np.bool_],
    *,
    is_target: bool,
    anytime: bool,
) -> Alone:
    """The `number`-th test of a threshold, from whether each item of a look is predicted rightly (total,), and whether
    it reaches the threshold (total,).

    At least one does. The items are all that the look used, in the test order, and right as they were there: one that
    was overdue is wrong, one that nobody could label is not among them. Given how many reach the threshold, the right
    ones have a binomial distribution, since neither model nor threshold knows a test answer: the bound is exact
    (Clopper & Pearson 1934).

    Whether a loop ends with its look K rests on test answers. So the level is a part of that look's own, alpha / 2**K,
    halved for each test of a threshold: over all K and all numbers they add up to alpha at most. A look that may end
    with any answer ends rather with a right one; the bound is then one that holds at all times (`anytime`).
    """
    from .evaluate import anytime_bound, lower_bound

    level, answered = look.level / 2**number, right[reach]
    n, k = len(answered), int(answered.sum())
    bound = anytime_bound(answered, level) if anytime else lower_bound(k, n, level)
    alpha = look.level * 2**look.number
    return Alone(number, look.number, tried, goal, is_target, len(right), n, k, level, alpha, bound)


def told(found: Alone | None, unread: str) -> tuple[str, ...]:
    """What is proven of what a model answers alone, in sentences, or why nothing is: see `why_not`."""
    return _proven(found) if found else (why_not(unread),)


def _proven(found: Alone) -> tuple[str, ...]:
    what = say(
        "Of {total} test items it answers {n} alone ({share}), and {right} of these were right: at least {bound} with "
        "{confidence} confidence (recorded look {number} at the threshold).",
        total=found.total,
        n=found.n,
        share=f"{100 * found.n / found.total:.1f} %",
        right=found.right,
        bound=f"{int(1000 * found.bound) / 10:.1f} %",
        confidence=_percent(1 - found.alpha),
        number=found.number,
    )
    goal, proven = _percent(found.goal), found.bound >= found.goal
    verdict = (
        say("The goal {goal} is proven.", goal=goal) if proven else say("The goal {goal} is not proven.", goal=goal)
    )
    if found.is_target:
        return what, verdict
    return what, verdict, say("This goal was named after the end: it counts if no test answer was looked at for it.")


def why_not(unread: str) -> str:
    """Why nothing is proven of what a model answers alone, for one of the words of `About.unread`."""
    match unread:
        case "running":
            return say("Whether that holds is not proven: no test item is read while the loop runs.")
        case "all":
            return say("Whether that holds is not proven: this model has learned from the test items.")
        case "groups":
            return say("Whether that holds is not proven: items of one group are not independent.")
        case "unlooked":
            return say("Whether that holds is not proven: no look at the claim as it is now was at this model.")
        case "none":
            return say("Whether that holds is not proven: no test item of the last look reaches that confidence.")
        case "busy":
            return say(
                "Whether that holds was not read: another process is at work in the folder, or it cannot be written. "
                "Write the model again later."
            )
    return say("Whether that holds is not proven.")


def _percent(share: float) -> str:
    return f"{round(100 * share, 2):g} %"
