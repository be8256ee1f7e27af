"""A number per item: finite, within bounds and in steps where there are any."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..domain import Answer, Consensus, Outcome
from ..errors import ConfigError, DataError, TrainingError
from ..language import say
from ..settings import TaskSettings, metrics_of
from .reading import OUTCOMES, empty, invalid, normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number from `low` to `high`. Codes are the numbers themselves.

    With a `step`, a number that people give must be a whole number of steps from `low` (from 0 where there is none).
    `unit` may stand behind a number in a text. `tolerance` is how far from the median of all votes one may be and
    still agree. Raises `ConfigError` for bounds, a step or a tolerance that leave nothing to answer.

    >>> task = Number(0, 10)
    >>> task.read("3.50").label, task.read(4).label
    ('3.5', '4')
    >>> task.read("3,5").problem
    '"3,5" is no number; write it with a point, for instance 3.5'
    """

    low: float = -math.inf
    high: float = math.inf
    step: float = 0.0
    unit: str = ""
    tolerance: float = 0.0

    kind: ClassVar[str] = "number"
    metrics: ClassVar[tuple[str, ...]] = metrics_of("number")

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(
                f"task.bounds are {self.low:g} and {self.high:g}: give the least number and a larger one, "
                "for instance [0, 10], or inf for an end that is open."
            )
        if not 0 <= self.step < math.inf or self.step > self.high - self.low:
            raise ConfigError(
                f"task.step is {self.step:g}: give 0 for any number, or at most what lies between the bounds."
            )
        if not 0 <= self.tolerance < math.inf:
            raise ConfigError(f"task.tolerance is {self.tolerance:g}: give a finite number of at least 0.")

    @classmethod
    def of(cls, settings: TaskSettings) -> Self:
        """The task that these settings describe. Raises `ConfigError` for one bound, or more than two."""
        if len(settings.bounds) not in (0, 2):
            raise ConfigError(
                f"task.bounds has {len(settings.bounds)} entries: give the least and the largest number, or none."
            )
        low, high = settings.bounds or (-math.inf, math.inf)
        return cls(low, high, settings.step, settings.unit, settings.tolerance)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: a number has no classes."""
        return ()

    def read(self, given: object) -> Answer:
        """What an answer says; never raises.

        A number, a text that is one, or a list with one of these, is `LABEL`; a text takes a point for decimals, an
        exponent, and the unit behind it. `UNSURE` or `BROKEN` is that outcome. `INVALID`, with the problem: nothing
        given, several numbers, a comma (it might separate decimals or thousands), a truth value, what is not finite,
        out of bounds or between two steps.
        """
        parts = list(given) if isinstance(given, list | tuple) else [given]
        parts = [part for part in parts if part is not None and not (isinstance(part, str) and not normalise(part))]
        if not parts:
            return empty()
        if len(parts) > 1:
            return invalid(say("{n} answers where one number is allowed", n=len(parts)))
        part = normalise(parts[0]) if isinstance(parts[0], str) else parts[0]
        if isinstance(part, str) and part in OUTCOMES:
            return Answer(OUTCOMES[part])
        if isinstance(part, bool) or not isinstance(part, str | Real):
            return invalid(say("a number is expected, and this is {kind}", kind=type(part).__name__))
        return self._meaning(part)

    def encode(self, labels: Sequence[str]) -> NDArray[np.float64]:
        """The numbers (n,), in their order; `DataError` names the first label that is none, or out of bounds."""
        import numpy as np

        return np.array([self._value(label) for label in labels], dtype=np.float64)

    def decode(self, codes: Iterable[Any]) -> list[str]:
        """Labels of numbers, in their order; `DataError` for one that is not finite, or out of bounds."""
        return [_digits(self._value(float(code))) for code in codes]

    def decide(self, mean: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Codes (n,): the members' mean (n,), moved to the nearer bound where it lies beyond; steps do not matter.

        Raises `TrainingError` for another shape, and for predictions that are not finite.
        """
        import numpy as np

        if mean.ndim != 1:
            raise TrainingError(f"predictions have the shape {mean.shape}; numbers need (n,).")
        if not np.isfinite(mean).all():
            row = int((~np.isfinite(mean)).argmax())
            raise TrainingError(f"the prediction for row {row} is not a finite number: the model is of no use.")
        return np.clip(mean.astype(np.float64), self.low, self.high)

    def alike(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """1 less the mean change in units of the standard deviation of `other`, the newer numbers; 0 at least."""
        import numpy as np

        change, spread = np.abs(one - other), float(other.std()) if len(other) else 0.0
        if not spread:
            return float(not change.any())
        return max(0.0, 1.0 - float(change.mean()) / spread)

    def consensus(self, votes: Sequence[str]) -> Consensus:
        """The median (of two middle votes, their mean) if more than half of the votes are within `tolerance` of it.

        That share is the agreement. Otherwise the votes are disputed: with a tolerance of 0, two different numbers are.
        """
        values = sorted(self._value(vote) for vote in votes)
        median = _median(values)
        near = sum(_within(abs(value - median), self.tolerance) for value in values)
        return Consensus(_digits(median), near / len(values)) if 2 * near > len(values) else Consensus()

    def summarise(self, labels: Iterable[str]) -> dict[str, float]:
        """How many numbers there are, and the least, the median and the largest of them if there are any."""
        values = sorted(self._value(label) for label in labels)
        if not values:
            return {"numbers": 0}
        return {"numbers": len(values), "least": values[0], "median": _median(values), "largest": values[-1]}

    def _meaning(self, part: str | Real) -> Answer:
        value = self._parsed(part)
        if value is None:
            return invalid(say('"{text}" is no number; write it with a point, for instance 3.5', text=part))
        problem = self._problem(value) or self._between_steps(value)
        return invalid(problem) if problem else Answer(Outcome.LABEL, label=_digits(value))

    def _parsed(self, part: Any) -> float | None:
        if isinstance(part, str):
            part = part.removesuffix(normalise(self.unit)).rstrip()
            if "_" in part:  # which Python takes for a separator of thousands
                return None
        try:
            return float(part)
        except OverflowError:
            return math.inf
        except (ValueError, TypeError):
            return None

    def _problem(self, value: float) -> str:
        if not math.isfinite(value):
            return say("{value} is not a finite number", value=value)
        if value < self.low:
            return say(
                "{value} is below {low}, the least number that is allowed", value=_digits(value), low=_digits(self.low)
            )
        if value > self.high:
            return say(
                "{value} is above {high}, the largest number that is allowed",
                value=_digits(value),
                high=_digits(self.high),
            )
        return ""

    def _between_steps(self, value: float) -> str:
        start = self.low if math.isfinite(self.low) else 0.0
        steps = (value - start) / self.step if self.step else 0.0
        if not math.isfinite(steps) or abs(steps - round(steps)) <= 1e-6 + 1e-15 * abs(steps):
            return ""
        return say(
            "{value} lies between two steps of {step} from {start}",
            value=_digits(value),
            step=_digits(self.step),
            start=_digits(start),
        )

    def _value(self, label: str | float) -> float:
        value = self._parsed(label)
        problem = f"{label!r} is no number" if value is None else self._problem(value)
        if value is None or problem:
            raise DataError(f"{problem}: it is no label.")
        return value


def _digits(value: float) -> str:
    """The fewest digits that stand for a number; whole numbers without a point, and one zero only."""
    return repr(value + 0.0).removesuffix(".0")


def _within(distance: float, most: float) -> bool:
    """Whether a distance is at most `most`, with room for the last digit of a sum of decimals."""
    return distance <= most or math.isclose(distance, most)


def _median(values: Sequence[float]) -> float:
    """The middle one of sorted values, or the mean of the two in the middle, which may be as large as numbers get."""
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return low if low == high else low / 2 + high / 2
