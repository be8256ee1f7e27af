"""`loop.toml`: what it may hold, what it is refused for, and that it comes back as it was written."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_loop import config
from active_loop.config import read_settings, write_settings
from active_loop.errors import ConfigError
from active_loop.learner import estimator_of
from active_loop.settings import (
    BudgetSettings,
    DataSettings,
    LabelingSettings,
    ModelSettings,
    QuerySettings,
    Settings,
    TargetSettings,
    TaskSettings,
    check,
    from_json,
    to_json,
)
from active_loop.tasks import BROKEN, UNSURE, normalise

ROOT = Path(__file__).resolve().parent.parent
TASK = '[task]\nclasses = ["ham", "spam"]\n'
HAM_OR_SPAM = Settings(task=TaskSettings(classes=("ham", "spam")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "loop.toml"


def read(file: Path, text: str) -> Settings:
    file.write_bytes(text.encode())
    return read_settings(file)


def refusal(file: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(file, text)
    return str(refused.value)


# Reading.


def test_keys_left_out_have_their_defaults(file: Path) -> None:
    assert read(file, TASK) == HAM_OR_SPAM


def test_what_the_file_says_wins_over_the_defaults(file: Path) -> None:
    read_back = read(file, f"seed = 7\n{TASK}unsure = false\n[data]\nshow = ['a', 'b']\n[target]\nvalue = 0.8\n")
    assert read_back == Settings(
        seed=7,
        task=TaskSettings(classes=("ham", "spam"), unsure=False),
        data=DataSettings(show=("a", "b")),
        target=TargetSettings(value=0.8),
    )


def test_a_whole_number_will_do_where_a_number_is_expected(file: Path) -> None:
    days = read(file, TASK + "[query]\ntest_timeout_days = 2\n").query.test_timeout_days
    assert (days, type(days)) == (2.0, float)


def test_a_file_saved_by_a_windows_editor_is_read_and_its_lines_are_counted(file: Path) -> None:
    windows = "\ufeff" + TASK.replace("\n", "\r\n")
    assert read(file, windows) == HAM_OR_SPAM
    assert refusal(file, windows + "\r\n[query]\r\nn_0 = 3\r\n").startswith("loop.toml, line 5: ")


def test_an_unknown_key_is_refused_with_its_line_the_closest_name_and_all_known_ones(file: Path) -> None:
    assert refusal(file, TASK + '\n\n[query]\nn0 = 12\nstratgy = "margin"\n') == (
        'loop.toml, line 7: unknown key "stratgy" in [query]; did you mean "strategy"? '
        "Known keys: strategy, random_share, cold_start, n0, retrain_every, queue_low, queue_high, batches_by_hand, "
        "rounds_by_hand, test_timeout_days."
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[query]\nmetric = 3\n", '"metric" in [query]; it belongs in [target].'),
        ("[query]\nseed = 3\n", '"seed" in [query]; it belongs above the first section.'),
        ('strategy = "margin"\n', '"strategy" above the first section; it belongs in [query].'),
        ("sede = 1\n", 'did you mean "seed"? Known keys: name, seed.'),
        ("[quary]\nn0 = 3\n", "unknown section [quary]; did you mean [query]? Known sections: data, task, target,"),
        ("[zzz]\n", "unknown section [zzz]. Known sections: data, "),
        ("query = 3\n", "query is a section: write [query]"),
        ("[[query]]\nn0 = 3\n", "query is a section: write [query]"),
    ],
)
def test_a_key_in_the_wrong_place_is_sent_to_the_right_one(file: Path, text: str, says: str) -> None:
    assert says in refusal(file, text)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('[target]\nvalue = "0.9"\n', 2, 'target.value is "0.9", a text; a finite number is expected.'),
        ("[target]\nvalue = nan\n", 2, "a finite number is expected."),
        ("[target]\nvalue = inf\n", 2, "a finite number is expected."),
        ("[target]\nvalue = true\n", 2, "target.value is true, a truth value; a finite number is expected."),
        ("\nseed = true\n", 2, "seed is true, a truth value; a whole number is expected."),
        ("seed = 1.0\n", 1, "seed is 1.0, a number; a whole number is expected."),
        ("[task]\nunsure = 1\n", 2, "task.unsure is 1, a whole number; true or false is expected."),
        ("[task]\nbounds = 3\n", 2, "task.bounds is 3, a whole number; a list of numbers is expected."),
        ("[task]\nbounds = [0, true]\n", 2, "task.bounds is [0, true], a list; a list of numbers is expected."),
        ("[task]\nbounds = [0, nan]\n", 2, "task.bounds is [0, NaN], a list; a list of numbers is expected."),
        ('[task]\nbounds = [0, "10"]\n', 2, 'task.bounds is [0, "10"], a list; a list of numbers is expected.'),
        ("[server]\nhost = 2025-01-01\n", 2, "a date or time; a text in quotes is expected."),
        ("[server]\nhost = {a = 1}\n", 2, "a section; a text in quotes is expected."),
        ('[task]\nclasses = "ham"\n', 2, 'task.classes is "ham", a text; a list of texts in quotes is expected.'),
        ('[task]\nclasses = [\n  "ham",\n  3,\n]\n', 2, 'task.classes is ["ham", 3], a list; a list of texts'),
    ],
)
def test_a_wrong_type_is_refused_with_what_was_found_and_what_is_expected(
    file: Path, text: str, line: int, says: str
) -> None:
    message = refusal(file, text)
    assert message.startswith(f"loop.toml, line {line}: ")
    assert says in message


def test_a_whole_number_too_large_for_a_number_is_refused(file: Path) -> None:
    assert "a finite number is expected" in refusal(file, f"[target]\nvalue = 1{'0' * 400}\n")


@pytest.mark.parametrize(
    ("text", "line", "quotes"),
    [
        ("seed = 1\n[target]\nvalue = 0,9\n", 3, "`value = 0,9`"),
        ("seed = 1\nseed = 2\n", 2, "`seed = 2`"),
        ('name = "a\u2028b"\nseed = \n', 2, "`seed =`"),
        ('seed = 1\n\n[task]\nclasses = [\n  "ham",\n  "spam"\n', 4, "`classes = [`"),
        ('[task]\ninstructions = """\none\ntwo\n', 2, "`instructions"),
        (f"seed = 1\n\nname = {'1' * 5000}\n", 3, "`"),
    ],
)
def test_broken_toml_is_refused_with_the_line_that_is_broken(file: Path, text: str, line: int, quotes: str) -> None:
    message = refusal(file, text)
    assert message.startswith(f"loop.toml, line {line}: this is not TOML: ")
    assert quotes in message
    assert len(message) < 400


def test_a_file_in_another_encoding_is_refused_with_the_line(file: Path) -> None:
    file.write_bytes('seed = 1\nname = "Größe"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^loop\.toml, line 2: this is not UTF-8"):
        read_settings(file)


def test_a_missing_file_sends_to_init(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*loop\.toml: `active-loop init` writes one"):
        read_settings(file)


def test_a_folder_in_place_of_the_file_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory; it must be a file"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TASK + "[target]\nvalue = 1.5\n", "loop.toml, line 4: target.value is 1.5: give a number between 0 and 1"),
        ("seed = 1\n", "loop.toml: task.classes has 0 entries"),
        ('[task]\nclasses = ["ham", "(unsure)"]\n', 'loop.toml, line 2: task.classes: "(unsure)" cannot be a class'),
        (TASK + "[budget]\nanswers = 20\n", "loop.toml, line 4: budget.answers is 20"),
    ],
)
def test_values_that_cannot_work_are_refused_with_the_line_of_their_key(file: Path, text: str, says: str) -> None:
    assert refusal(file, text).startswith(says)


# Names of components.


@pytest.mark.parametrize(
    ("section", "key", "wrong", "right"),
    [
        ("query", "strategy", "margni", "margin"),
        ("query", "cold_start", "kmean", "kmeans"),
        ("model", "use", "svn", "svm"),
        ("features", "use", "pixel", "pixels"),
        ("labeling", "backend", "lable-studio", "label-studio"),
        ("target", "metric", "acuracy", "accuracy"),
        ("target", "stop_on", "certifed", "certified"),
        ("data", "kind", "txt", "text"),
        ("task", "kind", "choise", "choice"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest_one(
    file: Path, section: str, key: str, wrong: str, right: str
) -> None:
    line = f'{key} = "{wrong}"\n'
    message = refusal(file, TASK + line if section == "task" else f"{TASK}[{section}]\n{line}")
    assert f'{section}.{key}: unknown name "{wrong}"; did you mean "{right}"? Known: ' in message
    assert message.startswith(f"loop.toml, line {3 if section == 'task' else 4}: ")


def test_every_model_that_the_file_may_name_can_be_made() -> None:
    assert all(estimator_of(name) is not None for name in config.MODELS)
    with pytest.raises(ConfigError) as refused:
        estimator_of("no such model")
    assert all(name in str(refused.value) for name in config.MODELS)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module beside `loop.toml` with a class in it; the import path is put back afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text("class Mine: ...\nNOT_A_CLASS = 3\n")
    return name


def test_a_class_of_ones_own_beside_the_file_is_found(file: Path, own_module: str) -> None:
    use = f"{own_module}:Mine"
    assert read(file, f'{TASK}[features]\nuse = "{use}"\n').features.use == use
    assert config.component(use, file.parent).__name__ == "Mine"


def test_a_class_that_the_module_lacks_is_refused_with_those_it_has(file: Path, own_module: str) -> None:
    message = refusal(file, f'{TASK}[features]\nuse = "{own_module}:Mein"\n')
    assert 'unknown class "Mein"; did you mean "Mine"? Known: Mine.' in message
    assert 'unknown class "NOT_A_CLASS"' in refusal(file, f'{TASK}[features]\nuse = "{own_module}:NOT_A_CLASS"\n')


def test_a_module_that_cannot_be_imported_is_refused_with_the_reason(file: Path, own_module: str) -> None:
    message = refusal(file, f'{TASK}[model]\nuse = "no_such_module.part:Mine"\n')
    assert "line 4: model.use: cannot import" in message
    assert "No module named 'no_such_module'" in message
    assert "put no_such_module.py into" in message
    (file.parent / f"broken_{own_module}.py").write_text("1 / 0\n")
    assert "ZeroDivisionError: division by zero" in refusal(file, f'{TASK}[model]\nuse = "broken_{own_module}:Mine"\n')


# Writing.


pieces = ['"', '""', '"""', "'''", "\\", "\\u0041", "\n", "\r\n", "\t", "\x00\x1f\x7f", "  ", "#"]
texts = st.lists(st.sampled_from(pieces) | st.text(max_size=5), max_size=6).map("".join)
names = st.text().filter(lambda name: normalise(name) not in {"", UNSURE, BROKEN})
classes = st.lists(names, min_size=2, max_size=5, unique_by=normalise).map(tuple)
loops = st.builds(
    Settings,
    name=texts,
    seed=st.integers(),
    data=st.builds(
        DataSettings,
        path=texts,
        kind=st.sampled_from(["", "text", "image", "table"]),
        show=st.lists(texts, max_size=4).map(tuple),
        group=texts,
    ),
    task=st.builds(TaskSettings, classes=classes, question=texts, instructions=texts, broken=st.booleans()),
    target=st.builds(
        TargetSettings,
        metric=st.sampled_from(["accuracy", "macro_f1"]),
        value=st.floats(0, 1, exclude_min=True, exclude_max=True),
    ),
    query=st.builds(QuerySettings, test_timeout_days=st.floats(allow_nan=False, allow_infinity=False)),
    budget=st.builds(BudgetSettings, answers=st.integers(min_value=100)),
    labeling=st.builds(LabelingSettings, token_file=texts),
)


@given(loops)
@settings(deadline=None)
def test_what_was_written_is_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, loop: Settings) -> None:
    file = tmp_path_factory.getbasetemp() / "round-trip.toml"
    write_settings(loop, file)
    assert read_settings(file) == loop


def test_every_key_is_written_once_below_its_documentation(file: Path) -> None:
    write_settings(HAM_OR_SPAM, file)
    write_settings(read_settings(file), file)
    lines = file.read_text().splitlines()
    sections = [field for field in dataclasses.fields(Settings) if "doc" not in field.metadata]
    keys = [key for field in sections for key in dataclasses.fields(getattr(HAM_OR_SPAM, field.name))]
    assert sum(line.startswith("[") for line in lines) == len(sections) == 13
    assert sum(" = " in line and not line.startswith("#") for line in lines) == len(keys) + 2
    assert all(" ".join(lines).replace(" # ", " ").count(key.metadata["doc"]) == 1 for key in keys)


def test_several_lines_of_instructions_stay_readable(file: Path) -> None:
    write_settings(
        dataclasses.replace(HAM_OR_SPAM, task=TaskSettings(classes=("a", "b"), instructions="One.\nTwo.")), file
    )
    assert 'instructions = """\nOne.\nTwo."""\n' in file.read_text()


@pytest.mark.parametrize(
    "bad",
    [
        Settings(),
        dataclasses.replace(HAM_OR_SPAM, query=QuerySettings(strategy="margni")),
        dataclasses.replace(HAM_OR_SPAM, query=QuerySettings(test_timeout_days=float("inf"))),
        dataclasses.replace(HAM_OR_SPAM, name="caf\udce9"),
    ],
)
def test_settings_that_could_not_be_read_back_leave_the_old_file_alone(file: Path, bad: Settings) -> None:
    write_settings(HAM_OR_SPAM, file)
    with pytest.raises(ConfigError):
        write_settings(bad, file)
    assert read_settings(file) == HAM_OR_SPAM


def test_a_crash_while_writing_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(HAM_OR_SPAM, file)

    def crash(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        write_settings(dataclasses.replace(HAM_OR_SPAM, seed=5), file)
    monkeypatch.undo()
    assert read_settings(file) == HAM_OR_SPAM
    write_settings(dataclasses.replace(HAM_OR_SPAM, seed=6), file)
    assert read_settings(file).seed == 6
    assert [path.name for path in file.parent.iterdir()] == ["loop.toml"]


def test_a_folder_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot write .*loop\.toml: No such file or directory; the folder must exist"
    ):
        write_settings(HAM_OR_SPAM, tmp_path / "nowhere" / "loop.toml")


def test_a_write_that_fails_leaves_nothing_behind(file: Path) -> None:
    (file / "in the way").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"cannot write .*loop\.toml: "):
        write_settings(HAM_OR_SPAM, file)
    assert list(file.parent.iterdir()) == [file]


def test_the_permissions_of_the_file_and_a_link_to_it_are_kept(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    write_settings(HAM_OR_SPAM, real)
    real.chmod(0o640)
    file.symlink_to(real)
    write_settings(dataclasses.replace(HAM_OR_SPAM, seed=5), file)
    assert file.is_symlink()
    assert (real.stat().st_mode & 0o777, read_settings(real).seed) == (0o640, 5)


def test_importing_config_does_not_wait_for_numpy() -> None:
    program = "import sys, active_loop.config; sys.exit('numpy' in sys.modules or 'query_strategies' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_page_of_settings_is_up_to_date() -> None:
    script = ROOT / "scripts" / "settings_page.py"
    subprocess.run([sys.executable, script, "--check"], check=True, timeout=60)


def test_several_models_are_a_committee_and_each_name_is_checked(tmp_path: Path) -> None:
    told = dataclasses.replace(
        HAM_OR_SPAM, model=ModelSettings(use="logistic, svm"), query=QuerySettings(strategy="vote_entropy")
    )
    write_settings(told, tmp_path / "loop.toml")
    assert read_settings(tmp_path / "loop.toml").model.members == 2
    with pytest.raises(ConfigError, match='unknown name "swm"; did you mean "svm"'):
        write_settings(dataclasses.replace(told, model=ModelSettings(use="logistic, swm")), tmp_path / "loop.toml")
    with pytest.raises(ConfigError, match=r"either bootstrap samples of one model or several models"):
        write_settings(
            dataclasses.replace(told, model=ModelSettings(use="logistic, svm", committee=3)), tmp_path / "loop.toml"
        )


def test_a_strategy_without_the_committee_it_needs_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    alone = ModelSettings(use="svm")
    told = dataclasses.replace(HAM_OR_SPAM, query=QuerySettings(strategy="kl_max"), model=alone)
    with pytest.raises(ConfigError, match='"kl_max" compares the members of a committee, at least 2, and there is 1'):
        write_settings(told, tmp_path / "loop.toml")
    with pytest.raises(ConfigError, match='"margin" needs a model, and there is none at the beginning'):
        write_settings(
            dataclasses.replace(HAM_OR_SPAM, query=QuerySettings(cold_start="margin")), tmp_path / "loop.toml"
        )


# What is asked of the settings of each kind of task.

WEIGHT = TaskSettings(kind="number", bounds=(0.0, 10.0))


@pytest.mark.parametrize(
    ("task", "target", "says"),
    [
        (TaskSettings(kind="number", classes=("a",)), {}, "task.classes has 1 entries, and a number has no classes"),
        (TaskSettings(kind="multi_label"), {}, "task.classes has 0 entries, 0 of them different: name at least one cl"),
        (TaskSettings(classes=("a",)), {}, "task.classes has 1 entries, 1 of them different: name at least two diff"),
        (
            TaskSettings(classes=("a", "b"), step=0.5),
            {},
            'task.step is for numbers, and task.kind is "choice": drop it',
        ),
        (
            TaskSettings(kind="multi_label", classes=("a",), unit="kg"),
            {},
            'task.unit is for numbers, and task.kind is "multi_label": drop it',
        ),
        (WEIGHT, {"value": 0.0}, "target.value is 0.0: give the largest mae that will do, above 0 and below 10, which"),
        (WEIGHT, {"value": 10.0}, "target.value is 10.0: give the largest mae that will do, above 0 and below 10, "),
        (
            TaskSettings(kind="number", bounds=(0.0, math.inf)),
            {"value": -1.0, "metric": "rmse"},
            "target.value is -1.0: give the largest rmse that will do, above 0.",
        ),
        (WEIGHT, {"value": 2.0, "metric": "r2"}, "target.value is 2.0: give a number between 0 and 1"),
        (
            TaskSettings(kind="number", bounds=(0.0, math.inf)),
            {"stop_on": "certified"},
            'target.stop_on is "certified", and target.metric is mae without task.bounds that are finite: such a claim',
        ),
        (
            WEIGHT,
            {"metric": "spearman", "value": 0.9, "stop_on": "certified"},
            'target.stop_on is "certified", and target.metric is spearman: such a claim can at most be likely',
        ),
    ],
)
def test_a_task_and_a_target_that_do_not_fit_are_refused(task: TaskSettings, target: dict[str, Any], says: str) -> None:
    usual = {"metric": "mae", "value": 2.0} if task.kind == "number" else {}
    with pytest.raises(ConfigError) as refused:
        check(Settings(task=task, target=TargetSettings(**{**usual, **target})))
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize(
    ("task", "metric", "value", "verdict"),
    [
        (WEIGHT, "mae", 2.0, "certified"),
        (TaskSettings(kind="number", bounds=(0.0, math.inf)), "mae", 25.0, "likely"),
        (TaskSettings(kind="number"), "rmse", 25.0, "likely"),
        (WEIGHT, "r2", 0.5, "likely"),
        (TaskSettings(kind="multi_label", classes=("a",)), "subset_accuracy", 0.9, "certified"),
        (TaskSettings(kind="multi_label", classes=("a",)), "macro_f1", 0.9, "likely"),
        (TaskSettings(classes=("a", "b")), "accuracy", 0.9, "certified"),
    ],
)
def test_what_fits_is_written_and_read_back_and_stops_on_what_can_be_proved(
    file: Path, task: TaskSettings, metric: str, value: float, verdict: str
) -> None:
    told = Settings(task=task, target=TargetSettings(metric=metric, value=value))
    write_settings(told, file)
    assert read_settings(file) == told
    assert told.stop_on == verdict
    assert dataclasses.replace(told, data=DataSettings(group="patient")).stop_on == "likely"


def test_settings_that_were_stored_before_a_key_existed_have_its_default() -> None:
    stored = json.loads(to_json(HAM_OR_SPAM))
    del stored["task"]["bounds"], stored["server"]
    assert from_json(json.dumps(stored)) == HAM_OR_SPAM
    open_end = dataclasses.replace(HAM_OR_SPAM, task=TaskSettings(kind="number", bounds=(0.0, math.inf)))
    assert from_json(to_json(open_end)) == open_end


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (QuerySettings(strategy="mixture(margin, share=2)"), "query.strategy: share is 2: give a share of the batch"),
        (QuerySettings(strategy="mixture(margin"), 'query.strategy: cannot read the strategy "mixture(margin"'),
        (QuerySettings(strategy="greedy_y"), '"greedy_y" chooses for tasks of kind number, and this one is choice'),
        (QuerySettings(strategy="cost_aware"), '"cost_aware" needs expected seconds per item, and a loop has none'),
        (QuerySettings(cold_start="auto"), 'query.cold_start: "auto" needs a model'),
        (QuerySettings(strategy="power(kl_mean)"), '"power(kl_mean)" compares the members of a committee'),
        (QuerySettings(random_share=0.6), "query.random_share is 0.6: give a share of each batch from 0 (none) to 0.5"),
        (
            QuerySettings(strategy="mixture(margin)", random_share=0.2),
            'query.random_share is 0.2, and query.strategy "mixture(margin)" draws a share at random already',
        ),
    ],
)
def test_a_strategy_that_this_loop_cannot_use_is_refused(tmp_path: Path, query: QuerySettings, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        write_settings(
            dataclasses.replace(HAM_OR_SPAM, query=query, model=ModelSettings(use="svm")), tmp_path / "loop.toml"
        )


def test_a_strategy_can_have_options_and_another_one_inside(tmp_path: Path) -> None:
    told = dataclasses.replace(HAM_OR_SPAM, query=QuerySettings(strategy="mixture(power(margin, beta=2), share=0.2)"))
    write_settings(told, tmp_path / "loop.toml")
    assert read_settings(tmp_path / "loop.toml") == told
