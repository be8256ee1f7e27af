"""What a strategy may look at: one pool, read-only, in blocks.

A pool can hold more rows than fit into memory, lie in a file in any order, and be cut into shards; none of this may
change which items are asked about. So a `PoolView` fixes an order of its own (by item id), cuts it into blocks of a
fixed size, and asks the model for predictions one block at a time. It never writes to what it was given, and knows
nothing of files, labels by name, or where the model came from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from query_strategies import fused
from query_strategies.fused import NUMBERS, Fused
from query_strategies.rows import Ids, Matrix, as_rows, content_ids
from query_strategies.strips import SUM_TOLERANCE, Kernel, by_strips, filled, votes

Floats: TypeAlias = NDArray[np.floating[Any]]
Rows: TypeAlias = NDArray[np.int64]
Predict: TypeAlias = Callable[[Matrix], Floats]
FitPredict: TypeAlias = Callable[[Rows, NDArray[Any]], Predict]

TASKS = ("choice", "multi_label", "number")
"""What a label can be: one of several classes, any number of them, or a number."""

BLOCK_SIZE = 65_536
"""Rows of one block. Shards of a pool are whole blocks."""

VOTE_ROWS = 16_384
"""Rows of votes worked on at a time: they are small, and what is made of them is not."""


class StrategyError(ValueError):
    """A query that cannot be answered: what is wrong with it, and what to do."""


class MissingNeedError(StrategyError):
    """A strategy needs something that this pool view does not offer."""


class PoolTooSmallError(StrategyError):
    """More rows were asked for than the pool has."""


class PredictionError(StrategyError):
    """The model's predictions have a wrong shape, are not finite, or are no probabilities."""


class PoolView:
    """A pool of n unlabelled items, as a strategy sees it.

    `ids` (n,) uint64 name the items; rows that share an id are taken for copies of one item. With `ids=None` they
    are worked out from the content of the rows of `X`. `X` is the feature matrix (n, d): a dense array, a csr matrix
    or array, or None; with `rows` (n,) the pool is only these rows of it, which are not copied. `predict(X_block)`
    gives member predictions: (members, rows, C) probabilities for a choice, (members, rows, L) for several labels at
    once, (members, rows) for a number; for a choice (rows, C) is one member.
    `task` says which. `labelled_X`, `labelled_y` and `pending_X` are the rows that have a label, their labels (class
    codes; (n, L) zeros and ones; numbers), and the rows that were asked about and have no answer yet. `classes` names
    the columns. `cost` (n,) are expected seconds per item, `group` (n,) its group, and `fit_predict(rows, y)` trains on
    the labelled rows and these rows of the pool with labels y, and returns the new model's `predict`.

    Rows are always counted in the caller's order. `blocks()` walks through the pool by ascending id, so that
    the answer does not depend on that order; where the rows are stored by ascending id, they are read in sequence.
    """

    def __init__(
        self,
        ids: ArrayLike | None,
        X: Matrix,
        *,
        rows: ArrayLike | None = None,
        predict: Predict | None = None,
        labelled_X: Matrix = None,
        labelled_y: ArrayLike | None = None,
        pending_X: Matrix = None,
        classes: Sequence[Any] = (),
        task: str = "choice",
        cost: ArrayLike | None = None,
        group: ArrayLike | None = None,
        fit_predict: FitPredict | None = None,
        block_size: int = BLOCK_SIZE,
    ) -> None:
        self._X = as_rows(X)
        self._rows: Rows | None = None if rows is None else np.asarray(rows, dtype=np.int64)
        self._given_ids = None if ids is None else _as_ids(ids)
        self._origin: Rows | None = None  # of a subset, the rows of the pool that it was cut from
        self._predict = predict
        self._predictions: Floats | None = None
        self._votes: NDArray[np.integer[Any]] | None = None
        self.n = _count(self._given_ids, self._X if self._rows is None else self._rows)
        self.labelled_X = as_rows(labelled_X)
        self.labelled_y = None if labelled_y is None else np.asarray(labelled_y)
        self.pending_X = as_rows(pending_X)
        self.classes = tuple(classes)
        if task not in TASKS:
            raise StrategyError(f'unknown task "{task}". Known: {", ".join(TASKS)}.')
        self.task = task
        self.cost = None if cost is None else np.asarray(cost, dtype=np.float64)
        self.group = None if group is None else np.asarray(group)
        self.fit_predict = fit_predict
        if block_size < 1:
            raise StrategyError(f"block_size is {block_size}: a block needs at least 1 row.")
        self.block_size = block_size
        for name, known in (("labelled_X", self.labelled_X), ("pending_X", self.pending_X)):
            _check_width(name, known, self._X)
        if predict is not None and self._X is None:
            raise StrategyError("predict was given without X: give the rows it predicts, or use from_predictions.")

    @classmethod
    def from_predictions(cls, ids: ArrayLike | None, predictions: Floats, *, X: Matrix = None, **more: Any) -> PoolView:
        """A view over predictions that are already there: (n, C), or (members, n, C).

        What is computed row by row does not depend on the order of the rows, so `blocks()` reads them as they lie.
        Where there are neither ids nor X, rows are told apart by their number.
        """
        predictions = np.asarray(predictions)
        by_member = (
            predictions[None] if predictions.ndim == 2 and more.get("task", "choice") == "choice" else predictions
        )
        if by_member.ndim < 2:
            raise PredictionError(f"predictions have shape {predictions.shape}: give (n, C) or (members, n, C).")
        if ids is None and X is None:
            ids = np.arange(by_member.shape[1], dtype=np.uint64)
        view = cls(ids, X, **more)
        if by_member.shape[1] != view.n:
            raise PredictionError(f"predictions for {by_member.shape[1]} rows, and the pool has {view.n}.")
        view._predictions = by_member
        return view

    @classmethod
    def from_votes(cls, ids: ArrayLike | None, votes: ArrayLike, *, X: Matrix = None, **more: Any) -> PoolView:
        """A view over the votes of a committee that gives no probabilities: (members, n) class codes, from 0."""
        codes = np.asarray(votes)
        if codes.ndim != 2 or codes.dtype.kind not in "iu":
            raise PredictionError(f"votes are {codes.dtype} of shape {codes.shape}: give (members, n) class codes.")
        if codes.size and codes.min() < 0:
            raise PredictionError(f"votes hold the class code {codes.min()}: codes count from 0.")
        if ids is None and X is None:
            ids = np.arange(codes.shape[1], dtype=np.uint64)
        view = cls(ids, X, **more)
        if codes.shape[1] != view.n:
            raise PredictionError(f"votes for {codes.shape[1]} rows, and the pool has {view.n}.")
        view._votes = codes
        return view

    def subset(self, rows: Rows) -> PoolView:
        """The same pool with these rows only; its row i is row `rows[i]` here."""
        view = copy.copy(self)
        for cached in ("ids", "order"):
            view.__dict__.pop(cached, None)
        view.n = int(rows.size)
        view._origin = rows if self._origin is None else self._origin[rows]
        view._rows = (rows if self._rows is None else self._rows[rows]) if self._X is not None else None
        view._given_ids = None if self._given_ids is None else self._given_ids[rows]
        view._predictions = None if self._predictions is None else self._predictions[:, rows]
        view._votes = None if self._votes is None else self._votes[:, rows]
        view.cost = None if self.cost is None else self.cost[rows]
        view.group = None if self.group is None else self.group[rows]
        refit = self.fit_predict
        view.fit_predict = None if refit is None else lambda more, y: refit(rows[more], y)
        return view

    @property
    def provides(self) -> frozenset[str]:
        """Which of the needs that a strategy can have are met here."""
        predicts = self._predict is not None or self._predictions is not None
        have = {
            "proba": predicts,
            "votes": predicts or self._votes is not None,
            "X": self._X is not None,
            "labels": self.labelled_X is not None and self.labelled_y is not None,
            "refit": self.fit_predict is not None,
            "cost": self.cost is not None,
        }
        return frozenset(need for need, met in have.items() if met)

    @cached_property
    def ids(self) -> Ids:
        """(n,) the id of every row, in the caller's order."""
        return self.ids_at(np.arange(self.n)) if self._given_ids is None else self._given_ids

    def ids_at(self, rows: Rows) -> Ids:
        """The ids of some rows; where ids come from content, only these rows are read."""
        return content_ids(self.X(rows)) if self._given_ids is None else self._given_ids[rows]

    def X(self, rows: Rows) -> Matrix:  # noqa: N802 - the feature matrix is X everywhere
        """The feature rows (len(rows), d), dense or csr as they were given."""
        if self._X is None:
            raise MissingNeedError("this pool has no feature matrix: give X to the PoolView.")
        return self._X[rows if self._rows is None else self._rows[rows]]

    @cached_property
    def order(self) -> Rows:
        """(n,) the rows by ascending id: the order in which everything that depends on one is computed."""
        if bool(np.all(self.ids[1:] >= self.ids[:-1])):
            in_order: Rows = np.arange(self.n)
            return in_order
        return np.argsort(self.ids, kind="stable")

    def row_blocks(self) -> Iterator[Rows]:
        """The rows by ascending id, `block_size` at a time."""
        for start in range(0, self.n, self.block_size):
            yield self.order[start : start + self.block_size]

    def blocks(self) -> Iterator[tuple[Rows, Floats]]:
        """(rows, predictions of all members for these rows), block by block; checked, and not to be written to.

        Raises `PredictionError` on a wrong shape, on a value that is not finite, and, where they should be
        probabilities, on a negative one and on rows of a choice that do not add up to 1 (both within 0.001).
        """
        for rows, block in self._unchecked():
            self._check(block, rows)
            yield rows, block

    def by_strips(
        self, kernel: Kernel, whole: Fused | None = None, of_mean: bool = False
    ) -> Iterator[tuple[Rows, NDArray[Any], Floats]]:
        """(rows, what the kernel makes of them (..., rows), their predictions (members, rows, C)), block by block.

        For the probabilities of a choice. The kernel gets strips (members, C, some rows), see `strips`; one that is
        `of_mean`, of their mean alone, may get that (1, C, some rows). Errors as in `blocks()`, in the same pass. In a
        large pool `whole`, a compiled form of the kernel, takes its place where it fits.
        """
        for rows, block in self._unchecked():
            members, large = len(block), self.n * block.shape[0] * block.shape[2] >= NUMBERS and fused.is_there()
            found = whole(block) if whole is not None and large else None
            if found is None:
                fill, depth = filled, members
                if large:
                    fill, depth = (fused.averaged, 1) if of_mean and members > 1 else (fused.filled, members)
                found = by_strips(kernel, block, partial(self._check_choice, block, rows), fill, depth)
            yield rows, found, block

    def predictions(self, rows: Rows) -> Floats:
        """The predictions of all members for some rows, as `blocks()` gives them."""
        held = self._predictions
        block = self._shaped(self._model(self.X(rows)) if held is None else held[:, rows], rows.size)
        self._check(block, rows)
        return block

    def predictions_elsewhere(self, X: Matrix) -> Floats | None:
        """The predictions of all members for rows X that are not in the pool, checked as those of the pool are.

        None where there are no such rows, or no model to ask, only a table of predictions.
        """
        if X is None or not X.shape[0] or self._predict is None:
            return None
        rows = np.arange(X.shape[0])
        return PoolView(rows, X, predict=self._predict, classes=self.classes, task=self.task).predictions(rows)

    def vote_blocks(self) -> Iterator[tuple[Rows, NDArray[np.integer[Any]]]]:
        """(rows, (members, rows) the class code that each member votes for), block by block.

        Where members give probabilities, the likeliest class has the vote, the first of equal ones.
        """
        if self._votes is None:
            yield from ((rows, codes) for rows, codes, _ in self.by_strips(votes, fused.votes))
            return
        for rows in self._in_sequence(min(self.block_size, VOTE_ROWS)):
            yield rows, self._votes[:, rows[0] : rows[-1] + 1]

    def _in_sequence(self, step: int) -> Iterator[Rows]:
        for start in range(0, self.n, step):
            yield np.arange(start, min(start + step, self.n))

    @property
    def _model(self) -> Predict:
        if self._predict is None:
            raise MissingNeedError("this pool has no model: give predict to the PoolView, or use from_predictions.")
        return self._predict

    def _unchecked(self) -> Iterator[tuple[Rows, Floats]]:
        """(rows, predictions), block by block: of the right shape, their values not looked at yet."""
        if self._predictions is not None:
            for rows in self._in_sequence(self.block_size):
                yield rows, self._shaped(self._predictions[:, rows[0] : rows[-1] + 1], rows.size)
        else:
            model = self._model
            for rows in self.row_blocks():
                yield rows, self._shaped(model(self.X(rows)), rows.size)

    def _shaped(self, predictions: Floats, n: int) -> Floats:
        """Predictions for n rows as a read-only float32 or float64 array of the shape that belongs to the task."""
        block = np.asarray(predictions)
        if block.dtype not in (np.float32, np.float64):
            block = block.astype(np.float32 if block.dtype == np.float16 else np.float64)
        if self.task == "choice" and block.ndim == 2:
            block = block[None]
        columns = {"choice": ("classes",), "multi_label": ("labels",), "number": ()}[self.task]
        if block.ndim != 2 + len(columns) or block.shape[1] != n or 0 in block.shape:
            expected = ", ".join(["members", str(n), *columns])
            raise PredictionError(f"predictions have shape {block.shape}: ({expected}) was expected, none of them 0.")
        if self.task == "choice" and self.classes and block.shape[2] != len(self.classes):
            raise PredictionError(
                f"predictions have {block.shape[2]} columns, and there are {len(self.classes)} classes."
            )
        block = block.view()
        block.flags.writeable = False
        return block

    def _named(self, rows: Rows) -> Rows:
        """The rows as whoever made the pool counts them."""
        return rows if self._origin is None else self._origin[rows]

    def _check(self, block: Floats, rows: Rows) -> None:
        if self.task == "choice":
            self._check_choice(block, rows, slice(None))
        elif self.task == "multi_label":
            _refuse_where(~((block >= 0) & (block <= 1)), block, self._named(rows), "label")
        else:
            self._check_number(block, rows)

    def _check_number(self, block: Floats, rows: Rows) -> None:
        wrong = ~np.isfinite(block)
        if wrong.any():
            member, position = np.argwhere(wrong)[0]
            raise PredictionError(
                f"the prediction of row {self._named(rows)[position]} (member {member}) is {block[member, position]}: "
                "repair the model or its features."
            )

    def _check_choice(self, block: Floats, rows: Rows, part: slice) -> None:
        block, rows = block[:, part], rows[part]
        # One product gives all row sums: it finds NaN, infinities and logits in a single pass over the block.
        with np.errstate(invalid="ignore"):
            sums = block @ np.ones(block.shape[2], dtype=block.dtype)
        wrong = ~(np.abs(sums - 1) <= SUM_TOLERANCE)
        if wrong.any():
            member, position = np.argwhere(wrong)[0]
            raise PredictionError(
                f"the predictions of row {self._named(rows)[position]} (member {member}) add up to "
                f"{sums[member, position]}, not to 1: {block[member, position, :8].tolist()}; "
                "repair the model, or give probabilities."
            )
        if block.min() < -SUM_TOLERANCE:
            _refuse_where(block < -SUM_TOLERANCE, block, self._named(rows), "class")


def _refuse_where(wrong: NDArray[np.bool_], block: Floats, rows: Rows, column: str) -> None:
    if wrong.any():
        member, position, number = np.argwhere(wrong)[0]
        raise PredictionError(
            f"the prediction of row {rows[position]} (member {member}, {column} {number}) is "
            f"{block[member, position, number]}, which is no probability: repair the model."
        )


def _check_width(name: str, known: Matrix, X: Matrix) -> None:
    if known is None or X is None or known.ndim < 2 or X.ndim < 2 or known.shape[0] == 0:
        return
    if known.shape[1] != X.shape[1]:
        raise StrategyError(f"{name} has {known.shape[1]} columns, and X has {X.shape[1]}: give the same features.")


def _as_ids(ids: ArrayLike) -> Ids:
    given = np.asarray(ids)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise StrategyError(f"ids are {given.dtype} of shape {given.shape}: give one non-negative integer per row.")
    if given.size and given.dtype.kind == "i" and given.min() < 0:
        raise StrategyError(f"ids hold {given.min()}: give non-negative integers below 2**64.")
    return given.astype(np.uint64, copy=False)


def _count(ids: Ids | None, X: Matrix) -> int:
    if X is None and ids is None:
        raise StrategyError("a PoolView needs ids or X: both are None.")
    if ids is None:
        return int(X.shape[0])
    if X is not None and X.shape[0] != ids.size:
        raise StrategyError(f"there are {ids.size} ids and {X.shape[0]} rows of X: give one id per row.")
    return int(ids.size)
