"""What a search tried and found, as values: for the round's record, and for the next search to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

LEFT_OUT: Final = "left out: "


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one candidate: its mean `loss` on `folds` folds, None if it completed no repeat, and the standard
    error `se` of how much it differs from the chosen one on the same items (0 for the chosen one).

    `outcome` is "won", "kept" (it was the model before), "lost", "cut off" (its time ran out), or "left out: " and why.
    """

    candidate: str
    parameters: str
    loss: float | None
    se: float | None
    folds: int
    seconds: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Tamed:
    """The best candidate knew the share `inside` of its own labels and `outside` of those held out (of numbers R²), and
    so the tamer ones named by `tried` were tried as well; the model that was found is `took`, if it is one of them."""

    inside: float
    outside: float
    tried: tuple[str, ...]
    took: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The model that was found, and what the next search goes on from.

    `chosen` is the name of a candidate, or of a mixture of several. `near` are its parts and the next best, which
    cannot be told from it or are the only others. `at` is the number of labels at the last search, 0 if there was
    nothing to compare by; `challenger` was better by more than one standard error then.
    `tamed` says what was done because the best candidates memorised, where they did.
    """

    chosen: str
    near: tuple[str, ...] = ()
    at: int = 0
    challenger: str = ""
    trials: tuple[Trial, ...] = ()
    parts: Mapping[str, Any] | None = None
    tamed: Tamed | None = None

    def as_record(self) -> dict[str, Any]:
        """What a round's record holds of it."""
        search = {**(self.parts or {}), "near": list(self.near), "at": self.at, "challenger": self.challenger}
        return {
            "chosen": self.chosen,
            "trials": [asdict(trial) for trial in self.trials],
            "search": {**search, **({"tamed": asdict(self.tamed)} if self.tamed else {})},
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self | None:
        """What a round found that `as_record` is part of the record of; None if nothing was searched for in it."""
        if "chosen" not in record:
            return None
        search = record["search"]
        return cls(record["chosen"], tuple(search["near"]), search["at"], search["challenger"])

    @staticmethod
    def folds_of(record: Mapping[str, Any]) -> Mapping[str, int]:
        """The folds of each candidate that the clock let through: with them instead of it, a search ends the same.

        One that was left out may begin the fold at which it failed once more, and fails there again.
        """
        return {
            trial["candidate"]: trial["folds"] + trial["outcome"].startswith(LEFT_OUT)
            for trial in record.get("trials", ())
        }
