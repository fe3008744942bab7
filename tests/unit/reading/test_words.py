"""The words of the stages, held against Cinder as it is installed."""

from __future__ import annotations

import ast
import importlib.util
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import otel_cinder
from otel_cinder.reading.words import LANGUAGES, Words, language_of, words

TABLES = (
    *("tasks", "flows", "methods", "requests", "actions", "drivers", "details", "phrases"),
    "sentences",
)
# Public methods of managers that no message asks for.
NO_MESSAGES = {
    *("driver_delete_snapshot", "driver_delete_volume", "finish_failover", "init_host"),
    *("init_host_with_rpc", "is_working", "reset", "setup_backup_backend", "upgrading_cloud"),
    "service_topic_queue",
}


def cinder() -> Path:
    """The folder of the installed Cinder."""
    spec = importlib.util.find_spec("cinder")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def classes(*files: Path) -> Iterator[tuple[Path, ast.ClassDef]]:
    """The classes at the top of these files."""
    for file in files:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                yield file, node


def tasks() -> set[str]:
    """The classes of all tasks of Cinder."""
    files = (*cinder().rglob("flows/**/*.py"),)
    return {
        node.name
        for _, node in classes(*files)
        if any(ast.unparse(base).endswith("Task") for base in node.bases)
        and not node.name.startswith("Cinder")
    }


def methods() -> set[str]:
    """The methods that messages can call: public ones of the services' managers."""
    files = [cinder() / name / "manager.py" for name in ("volume", "scheduler", "backup")]
    return {
        member.name
        for _, node in classes(*files, cinder() / "manager.py")
        if node.name.endswith("Manager")
        for member in node.body
        if isinstance(member, ast.FunctionDef) and not member.name.startswith("_")
    } - NO_MESSAGES


def actions() -> set[str]:
    """The actions of the API."""
    return {
        call.args[0].value
        for file in (cinder() / "api").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "wsgi.action"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_task_of_cinder_has_words(language: str) -> None:
    """Each class of a task in the installed Cinder is in the table."""
    names = tasks()
    assert len(names) >= 19
    assert not names - set(words(language).tasks)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_of_cinder_has_words(language: str) -> None:
    """Each method that a message can ask for is in the table."""
    names = methods()
    assert len(names) > 50
    assert not names - set(words(language).methods)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_action_of_the_api_has_words(language: str) -> None:
    """Each action on a volume, snapshot or group is in the table."""
    names = actions()
    assert len(names) > 25
    # Of types, and of groups through a resource of their own; no action of a `/action` request.
    others = {"create", "update", "addProjectAccess", "removeProjectAccess"}
    assert not names - others - set(words(language).actions)


@pytest.mark.parametrize("table", TABLES)
def test_the_languages_have_the_same_keys(table: str) -> None:
    """Both languages have the same sentences."""
    english: Mapping[str, str] = getattr(words("en"), table)
    chinese: Mapping[str, str] = getattr(words("zh"), table)
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert text.strip(), key
        assert chinese[key].strip(), key
        assert places(text) == places(chinese[key]), key


def places(text: str) -> set[str | None]:
    """The names of the places in a sentence."""
    return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}


@pytest.mark.parametrize(
    "table", ["tasks", "flows", "methods", "requests", "actions", "drivers", "sentences"]
)
def test_the_chinese_table_is_chinese(table: str) -> None:
    """Nothing was left in English."""
    for key, text in getattr(words("zh"), table).items():
        assert any("\u4e00" <= sign <= "\u9fff" for sign in text), key


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW.UTF-8", "LC_ALL": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
    ],
)
def test_the_locale_chooses_the_language(environment: dict[str, str], language: str) -> None:
    """LC_ALL comes before LC_MESSAGES, and that before LANG (POSIX)."""
    assert language_of(environment) == language


def test_no_other_language_is_known() -> None:
    """A language without a table is a KeyError."""
    with pytest.raises(KeyError):
        words("xx")
    assert isinstance(words(), Words)


def test_every_phrase_is_used() -> None:
    """Every sentence is used by the code."""
    package = Path(otel_cinder.__file__).parent
    files = [*(package / "reading").rglob("*.py"), *(package / "cli").rglob("*.py")]
    code = "".join(file.read_text() for file in files if file.parent.name != "words")
    code = code.replace("'", '"')
    # Names made of two parts, or taken from a span's.
    made = {"diff_only_this", "diff_only_other", "execute", "privsep"}
    made |= {name for name in words().phrases if name.endswith(" image")}
    made |= {"volume", "snapshot", "backup", "group", "group_snapshot", "service"}
    assert {name for name in words().phrases if f'"{name}"' not in code} <= made
    assert {name for name in words().sentences if f'"{name}"' not in code} <= set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_ends(language: str) -> None:
    """By a full stop of its language; all but names that a sentence has a place for."""
    names = {"standard_input", "run_a_request"}
    for name, sentence in words(language).sentences.items():
        assert sentence.endswith({"en": ".", "zh": "。"}[language]) == (name not in names), name
