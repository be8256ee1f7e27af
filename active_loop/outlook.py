"""What a budget can prove, in a few sentences, before any money is spent."""

from __future__ import annotations

from .chances import Proof, proof_of, quality_needed
from .domain import Verdict
from .evaluate import lower_bound
from .planning import hopeless, named
from .screening import outlook as outlook_of_search
from .settings import METRICS, Settings, positive_class


def outlook(settings: Settings, n_items: int, n_test: int = 0) -> str:
    """What can be proven with the budget, in a few sentences; before any money is spent.

    `n_test` items of a test file are not among the `n_items`.
    """
    if settings.is_search:
        return f"→ {outlook_of_search(settings, n_items)}"
    proof = proof_of(settings, n_items, n_test=n_test)
    if settings.target.metric not in ("accuracy", "macro_f1"):
        return f"→ {_within_reach_of_others(settings, proof)}"
    never = hopeless(settings, proof)
    return f"→ {never or _within_reach(settings, proof)}"


def _within_reach_of_others(settings: Settings, proof: Proof) -> str:
    """What the first look can say of a metric to which not every test item counts alike."""
    if not proof.sizes:
        return "With so few items nothing can be proven: none is left for testing."
    verdict = '"likely", not certified' if settings.obstacle else "certified"
    one_class = METRICS[settings.target.metric].of_one_class
    about = positive_class(settings.target, settings.task.classes) if one_class else ""
    counted = f', of which those count where "{about}" is true or predicted' if about else ""
    return (
        f"{named(settings)} can be shown to be {verdict}; with {settings.budget.answers} answers the first look has "
        f"{proof.sizes[0]} test items{counted}."
    )


def _within_reach(settings: Settings, proof: Proof) -> str:
    """What the first look takes, and how good a model it takes."""
    m, wanted, budget = proof.sizes[0], named(settings), f"{settings.budget.answers} answers"
    too_small = "the test file" if proof.brought else "the budget"
    sure, seems, right = quality_needed(proof.first), proof.right_to_be_likely(1), proof.right(1)
    model = f" A model that is really at {sure:.3f} does it with a chance of 80 %." if sure is not None else ""
    likely = f"a score of about {(m if seems is None else seems) / m:.2f} on {m} test items shows it"
    if not proof.certifiable:
        groups = "With groups, " if settings.data.group else ""
        return f'{groups}{wanted} can be shown to be "likely", not certified; with {budget}, {likely}.{model}'
    certified = f"{right} of {m} test answers must be right at the first look"
    if right is None:
        later = f"it takes look {proof.earliest}" if proof.earliest else f"{too_small} is too small"
        certified = (
            f"{later}: at the first even {m} of {m} right would prove only {lower_bound(m, m, proof.level(1)):.3f}"
        )
    if proof.stop_on == Verdict.CERTIFIED:
        learn = settings.budget.answers - (0 if proof.brought else m)
        return f"{wanted} can be certified with {budget}: {certified}; {learn} are left to learn.{model}"
    return f'With {budget} the loop stops when {wanted} is "likely": {likely}.{model} To certify it, {certified}.'
