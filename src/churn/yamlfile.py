"""YAML files that people and programs edit: read as texts, changed without losing a comment."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from churn import paths
from churn.errors import SettingsError

# What needs no quotes in any version of YAML, inside brackets too.
_PLAIN = re.compile(r"[^\W_][\w.%/()+ -]*(?<! )")


def read(path: Path) -> Any:
    """The file's content with every scalar as the text that stands there.

    YAML 1.1 turns an unquoted Yes or NO into a boolean, 012 into ten and NA-like words into what
    a library pleases. Here the models that take the values give them their types.
    """
    return parsed(_text(path), path)


def parsed(text: str, path: Path) -> Any:
    """The content of a YAML text as `read` gives it; `path` names it in errors."""
    try:
        # BaseLoader makes nothing but texts, lists and dicts.
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 # nosec B506
    except yaml.YAMLError as error:
        raise SettingsError(f"{paths.shown(path)} is not valid YAML: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(
            f"{paths.shown(path)} is missing; `git checkout {paths.shown(path)}` brings it back"
        ) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{paths.shown(path)} is not UTF-8: {error.reason}") from None


def edited(path: Path, changes: Mapping[str, object]) -> str:
    """The file's text with some values set, by dotted keys such as `data.id`. Comments, order and
    all other values stay; None is written as nothing, a list on one line.

    Raises SettingsError where a section is missing.
    """
    editor = _editor()
    text = _text(path)
    before = parsed(text, path)
    document = editor.load(text)
    for dotted, value in changes.items():
        *sections, last = dotted.split(".")
        place = document
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise SettingsError(f"{paths.shown(path)} has no section {'.'.join(sections)}")
        place[last] = written(value)
    changed = _dumped(editor, document)
    return changed if parsed(changed, path) != before else text


def dumped(document: CommentedMap) -> str:
    """The text of a new document."""
    return _dumped(_editor(), document)


class _Texts(VersionedResolver):
    """Every scalar is the text that stands there: True stays True, and 0.20 stays 0.20."""

    @property
    def versioned_resolver(self) -> dict[str, Any]:
        return {}


def _editor() -> YAML:
    editor = YAML()
    editor.Resolver = _Texts
    editor.preserve_quotes = True
    editor.width = 10_000  # what a person wrote on one line stays on it
    return editor


def _dumped(editor: YAML, document: Any) -> str:
    text = io.StringIO()
    editor.dump(document, text)
    return text.getvalue()


def written(value: object) -> Any:
    """The value as it is written: in quotes where YAML could read something else, lists on one
    line, booleans as yes and no."""
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return value if _PLAIN.fullmatch(value) else DoubleQuotedScalarString(value)
        case list() | tuple():
            sequence = CommentedSeq(written(item) for item in value)
            sequence.fa.set_flow_style()
            return sequence
        case dict():
            return CommentedMap({written(key): written(item) for key, item in value.items()})
        case None:
            return ""
        case _:
            return str(value)
