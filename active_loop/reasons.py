"""Why an item was asked about, in plain words, and when that may be said.

A strategy records what it computed for an item; here that becomes a sentence or two for people who do not know the
strategy. Nothing is computed here, and nothing is said of an item that was not recorded before anybody had answered it.

As long as a loop runs, a reason must not tell which items test. A test item was drawn at random; if only test items
read so, that alone would give them away. So the reason of every third item that was chosen, drawn by its ask, is held
back until the end, and all of these read alike: test items, other random ones, and those that wait.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .again import firsts
from .changes import current_settings, ended
from .control import AT_RANDOM
from .domain import Ask, Purpose
from .store import Store
from .tasks import NONE

_RULES: Final[tuple[tuple[str, frozenset[str]], ...]] = tuple(
    (name, frozenset(keys.split()))
    for name, keys in (
        ("few", "class labels drawn"),
        ("wavered", "margin classes"),
        ("torn", "ratio classes"),
        ("together", "consensus_entropy classes"),
        ("several", "entropy classes"),
        ("voted", "votes"),
        ("applies", "label probability"),
        ("unusual", "ranking inconsistency"),
        ("labels", "labels"),
        ("guessed", "class confidence"),
        ("teaches", "expected_loss"),
        ("moves", "model_change"),
        ("spread", "spread predicted"),
        ("direction", "gradient"),
        ("typical", "known_in_cluster"),
        ("covers", "gain"),
        ("stands", "cluster_size"),
        ("middle", "start"),
        ("far", "drawn distance"),
        ("value", "predicted distance"),
        ("far", "distance"),
    )
)
"""A sentence, and the entries of a record that it is made of; the first that fits is said."""

_BESIDES: Final = (("group", "margin"), ("unlike", "similarity"), ("crowded", "density"), ("mixed", "noise"))
"""What may be said besides, and the entry that calls for it."""

_HELD: Final = 1 / 3
"""Share of the chosen items whose reason waits for the end, so that test items are not alone in having none."""

_CLEAR: Final = 0.4
"""How far apart two chances are that nobody wavers between any more."""

_EN: Final = {
    "imported": "Its answer came with the data.",
    "held": "Chosen at random, or for a reason that is told once the loop has stopped.",
    "random": "Chosen at random.",
    "listed": "It was number {rank} on the list of what was most worth asking.",
    "near one": "The nearest item that was labelled before says: {said}.",
    "near": "The nearest items that were labelled before say: {said}.",
    "few": "It may be {class}, of which only {labels} had been labelled; the chance is {confidence}.",
    "wavered": "The model wavered between {classes}: their chances differ by {margin}.",
    "clearer": "The model was less unsure here, but nothing less clear was left; most likely were {classes}.",
    "even": "The model held {classes} for equally likely.",
    "torn": "The model wavered between {classes}.",
    "several": "The model was unsure between several answers, above all {classes}.",
    "together": "The models, taken together, were unsure; most likely were {classes}.",
    "voted": "The models disagreed: {votes}.",
    "united": "The models all said {votes}; nothing was left on which they differed.",
    "agreed": "The models all said {votes}, but some of them were much less sure.",
    "applies": "The model could not say whether {label} applies (chance {probability}).",
    "labels": "The model was unsure which labels apply, above all {labels}.",
    "unusual": "The model was unsure which labels apply, and held a combination for likely that is seldom seen.",
    "no labels": "The model was unsure whether any label applies.",
    "guessed well": "Nothing less clear was left: the best guess, {class}, had a chance of {confidence}.",
    "guessed": "The model was unsure: its best guess, {class}, had a chance of {confidence}.",
    "likely": "It is likely to be {class} (chance {confidence}).",
    "teaches": "Its answer was expected to make the model surer of all the other items.",
    "moves": "The models differed, and the answer was expected to change the model most; they said about {predicted}.",
    "spread": "The models predicted different numbers: about {predicted}, give or take {spread}.",
    "direction": "Its answer would change the model much, and in another way than the answers asked for with it.",
    "typical": "It is typical of a group of {cluster_size} similar items, {known_in_cluster} of them known before.",
    "covers": "It stands for a part of the data of which little was known yet.",
    "covers unsure": "It stands for a part of the data in which the model was unsure.",
    "stands": "It stands for a group of {cluster_size} similar items of which nothing was known yet.",
    "alone": "No other item is like it, and nothing like it was known yet.",
    "middle": "It lies in the middle of the data, which is a good place to start.",
    "value": "Nothing like it was known yet; the model said about {predicted}.",
    "far": "It is far from everything that was known.",
    "group": "It was taken from a group of {cluster_size} similar ones.",
    "unlike": "How far it is from what was known counted as well.",
    "crowded": "Many items are like it.",
    "mixed": "A little chance was added, so that not all are alike.",
    "and": " and ",
    "votes": "{count} for {class}",
}

_KO: Final = {
    "imported": "데이터에 이미 답이 들어 있었습니다.",
    "held": "무작위로 골랐거나, 그 이유를 루프가 끝난 뒤에 알려 드립니다.",
    "random": "무작위로 골랐습니다.",
    "listed": "물어볼 가치가 큰 순서에서 {rank}번째였습니다.",
    "near one": "먼저 답을 받은 가장 가까운 항목의 답: {said}.",
    "near": "먼저 답을 받은 가장 가까운 항목의 답: {said}.",
    "few": "아직 {labels}개만 확인된 답일 수 있습니다: {class} (확률 {confidence}).",
    "wavered": "모델이 다음 답 사이에서 망설였습니다: {classes} (확률 차이 {margin}).",
    "clearer": "모델이 덜 망설였지만, 더 불분명한 항목은 남아 있지 않았습니다. 가장 유력한 답: {classes}.",
    "even": "모델이 다음 답의 확률을 똑같이 보았습니다: {classes}.",
    "torn": "모델이 다음 답 사이에서 망설였습니다: {classes}.",
    "several": "모델이 여러 답 사이에서 확신하지 못했습니다. 가장 유력한 답: {classes}.",
    "together": "여러 모델을 합쳐 보아도 확신이 없었습니다. 가장 유력한 답: {classes}.",
    "voted": "모델들의 의견이 갈렸습니다: {votes}.",
    "united": "모델들의 답이 같았고, 의견이 갈리는 항목은 남아 있지 않았습니다: {votes}.",
    "agreed": "모델들의 답은 같았지만 일부는 확신이 훨씬 낮았습니다: {votes}.",
    "applies": "모델이 다음 라벨에 해당하는지 판단하지 못했습니다: {label} (확률 {probability}).",
    "labels": "모델이 어떤 라벨에 해당하는지 확신하지 못했습니다. 특히: {labels}.",
    "unusual": "모델이 어떤 라벨에 해당하는지 확신하지 못했고, 드문 조합을 예상했습니다.",
    "no labels": "모델이 해당하는 라벨이 있는지 확신하지 못했습니다.",
    "guessed well": "더 불분명한 항목은 남아 있지 않았습니다. 가장 유력한 답: {class} (확률 {confidence}).",
    "guessed": "모델이 확신하지 못했습니다. 가장 유력한 답: {class} (확률 {confidence}).",
    "likely": "다음 답일 가능성이 높습니다: {class} (확률 {confidence}).",
    "teaches": "이 답을 알면 모델이 다른 모든 항목을 더 확신하게 될 것으로 기대했습니다.",
    "moves": "모델들의 예측이 달랐고, 이 답이 모델을 가장 많이 바꿀 것으로 기대했습니다. 예측값: 약 {predicted}.",
    "spread": "모델들이 서로 다른 값을 예측했습니다: 약 {predicted}, 편차 {spread}.",
    "direction": "이 답은 함께 질문한 다른 답과는 다른 방향으로 모델을 크게 바꿀 것입니다.",
    "typical": "비슷한 항목 {cluster_size}개를 대표합니다. 그중 이미 아는 항목: {known_in_cluster}개.",
    "covers": "아직 알려진 것이 거의 없는 부분의 데이터를 대표합니다.",
    "covers unsure": "모델이 확신하지 못하는 부분의 데이터를 대표합니다.",
    "stands": "아직 아무것도 알려지지 않은 비슷한 항목 {cluster_size}개를 대표합니다.",
    "alone": "비슷한 다른 항목이 없고, 이와 비슷한 것은 아직 알려지지 않았습니다.",
    "middle": "데이터의 한가운데에 있어 시작하기에 좋은 항목입니다.",
    "value": "이와 비슷한 것은 아직 알려지지 않았습니다. 모델의 예측값: 약 {predicted}.",
    "far": "알려진 모든 항목에서 멀리 떨어져 있습니다.",
    "group": "비슷한 항목 {cluster_size}개 가운데에서 골랐습니다.",
    "unlike": "알려진 항목과 얼마나 다른지도 함께 따졌습니다.",
    "crowded": "비슷한 항목이 많습니다.",
    "mixed": "비슷한 것만 고르지 않도록 우연을 조금 섞었습니다.",
    "and": ", ",
    "votes": "{class} {count}표",
}

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {"en": _EN, "ko": _KO}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an item was asked about: sentences, and the items (positions) that were near, with their labels then."""

    text: str
    near: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reasons:
    """What may be said now of the asks of a loop, `runs` as long as it has not stopped; the first ask of each item."""

    language: str
    runs: bool
    asks: Mapping[int, Ask]
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, store: Store, language: str = "", items: Collection[int] | None = None) -> Reasons:
        """As the store has it, in this language, or in that of the settings; of these items and those near them alone.

        Without `items` of all that were asked about.
        """
        settings = current_settings(store)
        asks = firsts(store.asks() if items is None else _with_neighbours(store, items))
        return cls(language or settings.server.language, ended(store, settings) is None, asks, store.key())

    def why(self, item: int) -> Reason:
        """Why the item at this position was asked about, as far as that may be said now."""
        ask, words = self.asks.get(item), _WORDS[self.language]
        if ask is None:
            return Reason(words["imported"])
        return self._whole(ask) if self.is_told(item) else Reason(words["held"])

    def short(self, item: int) -> str:
        """The first sentence of the reason, without what was near; empty while it is held back, and without an ask."""
        ask = self.asks.get(item)
        return sentences(ask, self.language)[0] if ask and self.is_told(item) else ""

    def _whole(self, ask: Ask) -> Reason:
        near = self._near(ask)
        text = sentence(ask, self.language)
        labels = ", ".join(readable(label) for _, label in near)
        said = _WORDS[self.language]["near one" if len(near) == 1 else "near"].format(said=labels) if near else ""
        return Reason(f"{text} {said}".strip(), near)

    def _near(self, ask: Ask) -> tuple[tuple[int, str], ...]:
        """The neighbours; as long as the loop runs only those of which it is told that somebody chose them."""
        if at_random(ask):
            return ()
        found = ((int(each["item"]), str(each["label"])) for each in ask.why.get("neighbours", ()))
        return tuple((item, label) for item, label in found if self.is_told(item))

    def is_told(self, item: int) -> bool:
        """Whether it may be said why an item was asked about, and how that was worked out."""
        ask = self.asks.get(item)
        return not self.runs or (ask is not None and not at_random(ask) and not self._waits(ask))

    def _waits(self, ask: Ask) -> bool:
        """Whether the reason is held back while the loop runs: drawn with the loop's secret, since ids can be read."""
        drawn = hashlib.blake2b(ask.id.encode(), key=self.key, digest_size=8).digest()
        return int.from_bytes(drawn, "big") / 2**64 < _HELD


def _with_neighbours(store: Store, items: Collection[int]) -> list[Ask]:
    """The asks about these items, and about those that were near them."""
    asks = store.asks_about(items)
    near = {int(each["item"]) for ask in asks for each in ask.why.get("neighbours", ())}
    return [*asks, *store.asks_about(near.difference(items))]


def at_random(ask: Ask) -> bool:
    """Whether nothing but chance chose the item: to test, as the random share of a batch, or for want of anything else.

    >>> from active_loop.domain import AskState
    >>> at_random(Ask("a", 1, Purpose.TEST, AskState.OPEN))
    True
    """
    if ask.purpose == Purpose.TEST or str(ask.why.get("drawn", "")).startswith(AT_RANDOM):
        return True
    return "probability" in ask.why and "label" not in ask.why


def sentence(ask: Ask, language: str = "en") -> str:
    """Why this was asked, by what its strategy recorded; of its neighbours nothing.

    >>> from active_loop.domain import AskState
    >>> why = {"margin": 0.03, "classes": ["3", "8"]}
    >>> sentence(Ask("a", 1, Purpose.POOL, AskState.OPEN, why=why, strategy="margin"))
    'The model wavered between 3 and 8: their chances differ by 3 %.'
    """
    return " ".join(sentences(ask, language))


def sentences(ask: Ask, language: str = "en") -> list[str]:
    """The parts of `sentence`, the first of which can stand alone."""
    words, why = _WORDS[language], ask.why
    if at_random(ask):
        return [words["random"]]
    name = next((name for name, keys in _RULES if keys <= why.keys()), "listed")
    values = {**_values(why, words), "rank": (ask.rank or 0) + 1}
    parts = [words[_variant(name, ask)]]
    parts += [words[more] for more, key in _BESIDES if key in why and (more != "group" or _several(why))]
    return [part.format_map(values) for part in parts]


def _variant(name: str, ask: Ask) -> str:
    """The sentence of this name that fits the numbers."""
    why, chosen_by = ask.why, f"{ask.strategy} {ask.why.get('strategy', '')}"
    match name:
        case "wavered":
            return "even" if why["margin"] < 0.005 else "clearer" if why["margin"] > _CLEAR else name
        case "voted" if len(why["votes"]) < 2:
            return "agreed" if any(key.startswith("kl_") for key in why) else "united"
        case "guessed" if "most_likely_positive" in chosen_by:
            return "likely"
        case "guessed" if why["confidence"] > 1 - _CLEAR / 2:
            return "guessed well"
        case "covers" if "uncertainty_herding" in chosen_by:
            return "covers unsure"
        case "stands" if not _several(why):
            return "alone"
        case "labels" if not why["labels"]:
            return "no labels"
    return name


def _several(why: Mapping[str, Any]) -> bool:
    return int(why.get("cluster_size", 0)) > 1


def readable(label: str) -> str:
    """A label as people read it, whatever its kind.

    >>> [readable(label) for label in ("oak", "3.5", '["cat", "owl"]', "[]")]
    ['oak', '3.5', 'cat + owl', '(none)']
    """
    if not label.startswith("["):
        return label
    try:
        return " + ".join(map(str, json.loads(label))) or NONE
    except ValueError:
        return label


def _values(why: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, str]:
    """What the sentences may hold, as people write it."""
    values = {key: _name(value) for key, value in why.items() if isinstance(value, str | int | float)}
    values |= {key: _joined(value, words["and"]) for key, value in why.items() if _is_list(value)}
    values |= {key: _percent(why[key]) for key in ("confidence", "probability", "margin") if key in why}
    if "votes" in why:
        by_votes = sorted(why["votes"].items(), key=lambda vote: (-vote[1], vote[0]))
        said = [words["votes"].format_map({"count": count, "class": _name(name)}) for name, count in by_votes]
        values["votes"] = ", ".join(said) if len(said) > 1 else _name(by_votes[0][0])
    return values


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _joined(values: Sequence[Any], last: str) -> str:
    names = [_name(value) for value in values]
    return last.join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _name(value: object) -> str:
    """A class or a number."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    return "below 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
