"""A config's text: YAML or TOML into a mapping, and the sentence with the line where it is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader

from .config_check import PATHS, shown
from .errors import UserError

_LARGEST = 256 * 1024
_DEEPEST = 20
# Characters and nodes of a file after every alias is replaced by what it stands for.
_LARGEST_EXPANDED = 4 * _LARGEST
# Escapes that someone means who writes a path in double quotes; the others turn folders into control characters.
_MEANT = re.compile(r'\\(?:[\\/"\n]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})')
_PATH = re.compile(r'"(?:[A-Za-z]:|~|\.{1,2})?\\')
_QUOTES = "use single quotes or forward slashes: 'C:\\photos' or C:/photos"


def read(path: Path, text_keys: Collection[str] = ()) -> dict[str, Any]:
    """The mapping in a ``.toml`` file, or in a YAML file of any other name.

    Values of ``text_keys`` stay as they are written where YAML would make a number or a date of them.

    Raises:
        UserError: the file cannot be read, or is no mapping of keys to values.
    """
    text = read_text(path)
    return _toml(text, path) if path.suffix.lower() == ".toml" else parse(text, str(path), text_keys)


def parse(text: str, where: str, text_keys: Collection[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML text; nothing else is made than numbers, texts, lists and mappings.

    Raises:
        UserError: the text is no YAML, is no mapping, or would grow too large.
    """
    return _guarded(text, where, lambda loader: _mapping(loader, text, where, text_keys))


def value(text: str, where: str) -> Any:
    """A single value as YAML reads it.

    Raises:
        UserError: it is no YAML.
    """
    return _guarded(text, where, lambda loader: _value(loader, where))


def overrides(arguments: Sequence[str], text_keys: Collection[str] = ()) -> dict[str, Any]:
    """``key=value`` arguments as a mapping.

    Raises:
        UserError: an argument without an equals sign, or with a value that is no YAML.
    """
    values = {}
    for override in arguments:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"--set {override}: write it as key=value, for example --set epochs=5.")
        try:
            values[key] = text if key in text_keys and not text.startswith("[") else value(text, f"--set {key}")
        except UserError as error:
            raise UserError(f"--set {key}={text[:80]}: this value is not valid YAML; put it in quotes.") from error
    return values


def read_text(path: Path) -> str:
    """The text of a small UTF-8 file.

    Raises:
        UserError: it is missing, too large, or no UTF-8 text.
    """
    if path.is_dir():
        raise UserError(f"{path}: this is a folder; name the config file in it.")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such config file; check the path after --config.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the config file cannot be read ({error}).") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: the config file is saved as UTF-16; save it as UTF-8 text.")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UserError(f"{path} line {line}: this is no text but a binary file, or UTF-16; name a text file in UTF-8.")
    if len(data) > _LARGEST:
        raise UserError(f"{path}: the file is larger than {_LARGEST // 1024} KiB, which no config is; check the path.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} line {line}: the config file is not UTF-8; save it as UTF-8 text.") from error


def _guarded(text: str, where: str, build: Callable[[yaml.SafeLoader], Any]) -> Any:
    """What ``build`` makes of a YAML text that is known to stay small; its errors as sentences."""
    hidden = Reader.NON_PRINTABLE.search(text)
    if hidden:
        line = text.count("\n", 0, hidden.start()) + 1
        raise UserError(
            f"{where} line {line}: there is the invisible control character U+{ord(hidden.group()):04X}; delete it."
        )
    try:
        _check_size(text, where)
        loader = yaml.SafeLoader(text)
        try:
            return build(loader)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise UserError(_sentence(error, where)) from error


def _toml(content: str, path: Path) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:
        try:
            import tomli as tomllib
        except ImportError:
            raise UserError(
                f"{path}: TOML needs Python 3.11 or the package tomli; run `pip install tomli` or write it as YAML."
            ) from None
    try:
        return tomllib.loads(content)
    except RecursionError:
        raise UserError(f"{path}: this is nested too deeply; write lines of `key = value`.") from None
    except ValueError as error:
        match = re.search(r"at line (\d+)", str(error))
        lines = content.rstrip("\n").split("\n")
        line = min(int(match.group(1)), len(lines)) if match else len(lines)
        remedy = _QUOTES if "\\" in lines[line - 1] else "every line reads `key = value`, text in quotes"
        raise UserError(f"{path} line {line}: this is not valid TOML ({error}); {remedy}.") from error


def _check_size(text: str, where: str) -> None:
    """Refuse what would grow when aliases are replaced, before anything is built."""
    sizes: dict[str, int] = {}
    stack: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        location = f"{where} line {event.start_mark.line + 1}" if event.start_mark else where
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append((event.anchor, 1))
            if len(stack) > _DEEPEST:
                raise UserError(f"{location}: this is nested too deeply; every line reads `key: value`.")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in stack):
                raise UserError(f"{location}: *{event.anchor} stands inside of &{event.anchor}; write it out.")
            anchor, size = None, 1 if event.anchor is None else sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1 + len(event.value)
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if stack:
            stack[-1] = (stack[-1][0], stack[-1][1] + size)
        if size > _LARGEST_EXPANDED or (stack and stack[-1][1] > _LARGEST_EXPANDED):
            raise UserError(f"{location}: the aliases (*name) grow to more than a config can hold; write it out.")


def _mapping(loader: yaml.SafeLoader, text: str, where: str, text_keys: Collection[str]) -> dict[str, Any]:
    node = loader.get_single_node()
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return {}
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else "text"
        line = node.start_mark.line + 1
        raise UserError(f"{where} line {line}: expected lines of `key: value`, found {kind}.")
    _check_nodes(node, loader, where, set())
    _check_quotes(node, text, where)
    written = {key.value: value for key, value in node.value}
    values = loader.construct_document(node)
    for key in text_keys:
        if key in written and key in values:
            values[key] = _as_written(written[key], values[key])
    return values


def _value(loader: yaml.SafeLoader, where: str) -> Any:
    node = loader.get_single_node()
    if node is None:
        return None
    _check_nodes(node, loader, where, set())
    return loader.construct_document(node)


def _as_written(node: yaml.Node, value: Any) -> Any:
    """The text of a number or a date, with its leading and trailing zeros."""
    if isinstance(node, yaml.SequenceNode) and isinstance(value, list):
        return [_as_written(*pair) for pair in zip(node.value, value, strict=True)]
    keep = not isinstance(node, yaml.ScalarNode) or isinstance(value, str | bool) or value is None
    return value if keep else node.value


def _check_nodes(node: yaml.Node, loader: yaml.SafeLoader, where: str, checked: set[int]) -> None:
    """Every key of every mapping is text, and there once; every number and date can be read."""
    if id(node) in checked:
        return
    checked.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(node, loader, where)
        return
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_nodes(item, loader, where, checked)
        return
    lines: dict[str, int] = {}
    for key, item in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            name = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            raise UserError(
                f"{where} line {line}: expected a key that is a name, found {shown(name)}; every line reads "
                "`key: value`."
            )
        if key.value in lines and key.tag.endswith("str"):
            raise UserError(
                f"{where} line {line}: {key.value} is there a second time, first in line {lines[key.value]}; keep one."
            )
        lines[key.value] = line
        _check_nodes(item, loader, where, checked)


def _check_scalar(node: yaml.ScalarNode, loader: yaml.SafeLoader, where: str) -> None:
    try:
        loader.construct_object(node)
    except ValueError as error:
        raise UserError(
            f"{where} line {node.start_mark.line + 1}: {shown(node.value)} is no number or date that can be read; "
            "correct it, or put it in quotes."
        ) from error


def _check_quotes(node: yaml.MappingNode, text: str, where: str) -> None:
    """A path in double quotes whose folders YAML would turn into tabs and line ends."""
    for key, item in node.value:
        if isinstance(item, yaml.ScalarNode) and item.style == '"':
            raw = text[item.start_mark.index : item.end_mark.index]
            if (key.value in PATHS or _PATH.match(raw)) and "\\" in _MEANT.sub("", raw):
                raise UserError(
                    f"{where} line {item.start_mark.line + 1}: {key.value} has a backslash in double quotes, which "
                    f"YAML reads as a special character; {_QUOTES}."
                )


def _sentence(error: yaml.YAMLError, where: str) -> str:
    problem = context = ""
    if isinstance(error, yaml.MarkedYAMLError):
        problem, context = error.problem or "", error.context or ""
        mark = error.problem_mark or error.context_mark
        if "end of stream" in problem and error.context_mark:
            mark = error.context_mark
        where = f"{where} line {mark.line + 1}" if mark else where
    if "escape" in problem:
        return f"{where}: there is a backslash in double quotes, which YAML reads as a special character; {_QUOTES}."
    if "\\t" in problem:
        return f"{where}: there is a tab, which YAML does not take at the start of a line or value; use spaces."
    if "constructor for the tag" in problem:
        return f"{where}: a tag (!...) is not allowed; write the value alone."
    if "single document" in problem or "expected a single" in context:
        return f"{where}: a second document starts (---); a config has one, delete the line."
    if "alias" in problem or "cannot start any token" in problem or "mapping values" in problem:
        return f"{where}: this is not valid YAML; put a value with special characters into single quotes."
    return f"{where}: this is not valid YAML; every line reads `key: value`."
