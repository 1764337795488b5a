"""The files of a model where LoRAs are used: renamed with it, put aside with it, and brought back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import file_name, files, json_text
from ..adapters.title import set_title
from ..errors import Conflict, UserError
from ..library.model import Model
from ..library.models import Models
from ..training import lock, publication
from .environment import Environment
from .importing import base_name
from .publishing import KEPT

#: in a model's folder: its files while it is retired, and where they belong
FOLDER, RECORD = "retired", "retired.json"
_IMAGES = tuple(f"{middle}.{end}" for middle in ("", ".preview") for end in ("png", "jpg", "jpeg", "webp", "gif"))
#: what WebUIs and their extensions keep beside a LoRA
BESIDE = (".json", ".txt", ".civitai.info", ".description.txt", *_IMAGES)
_CHUNK = 1 << 22


def retire(models: Models, environment: Environment, model: str) -> Model:
    """Put a model aside: its files leave the folder where LoRAs are used, with their cards and previews.

    What an attempt that was interrupted has left undone is done by the next.

    Raises:
        NotFound: there is no such model.
        Conflict: a job of it waits or runs.
        OSError: a file cannot be moved.
    """
    found = models.get(model)
    models.require_idle(model, "retire it when they have ended")
    with lock.locked(models.home(model) / KEPT):
        return _retire(models, environment, found)


def _retire(models: Models, environment: Environment, found: Model) -> Model:
    model, record = found.id, _record(models, found.id)
    place = models.home(model) / FOLDER
    taken = set(record["files"].values())
    for path in _with_beside(_published(models, model)):
        if str(path) not in record["files"]:
            target = _free(place / path.name, taken)
            record["files"][str(path)] = str(target)
            taken.add(str(target))
    record["published"] |= {one.id: one.published for one in models.versions(model) if one.published}
    files.write_text(models.home(model) / RECORD, json_text.dumps(record, indent=1))
    for old, new in record["files"].items():
        if Path(old).is_file():
            _move(Path(old), Path(new))
    with models.changing():
        models.moved(model, record["files"])
        for version in models.versions(model):
            models.published(version.id, "")
        retired = models.retire(model, found.retired or time.time())
    _refresh(environment, record["files"])
    return retired


def restore(models: Models, environment: Environment, model: str) -> Model:
    """Bring a retired model back: its files return to where they were, byte by byte as they left.

    Where that folder is not there any more, they go to where LoRAs are used now.

    Raises:
        NotFound: there is no such model.
        Conflict: it is not retired, or another file has taken a place.
        UserError: there is no folder for them.
        OSError: a file cannot be moved.
    """
    found = models.get(model)
    with lock.locked(models.home(model) / KEPT):
        return _restore(models, environment, found)


def _restore(models: Models, environment: Environment, found: Model) -> Model:
    model, record = found.id, _record(models, found.id)
    if found.retired is None and not record["files"]:
        raise Conflict(f"{found.name}: this model is not retired.")
    back = {new: str(_home_of(Path(old), environment)) for old, new in record["files"].items()}
    _require_free([Path(old) for new, old in back.items() if Path(new).is_file()], "restore it again")
    for new, old in back.items():
        if Path(new).is_file():
            _move(Path(new), Path(old))
    moves = {old: back[new] for old, new in record["files"].items()}
    with models.changing():
        models.moved(model, back)
        for version, path in record["published"].items():
            models.published(version, moves.get(path, path))
        restored = models.retire(model, None)
    (models.home(model) / RECORD).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (models.home(model) / FOLDER).rmdir()
    _refresh(environment, back.values())
    return restored


def rename(models: Models, environment: Environment, model: str, name: str, *, replace: bool = False) -> Model:
    """Give a model another name; its files where LoRAs are used follow, with cards, previews and their own titles.

    Files that were imported keep their title: they are never changed.

    Args:
        models: of the library.
        environment: where LoRAs are used.
        model: its id.
        name: the new one.
        replace: whether files of the new name that are in the way are renamed to ``….TIME.bak``.

    Raises:
        NotFound: there is no such model.
        UserError: the name cannot be used.
        Conflict: another model has it, a job of this one waits or runs, it is retired, or files are in the way.
        OSError: a file cannot be moved.
    """
    found = models.get(model)
    models.require_free(name, model)
    if name == found.name:
        return found
    if found.retired is not None:
        raise Conflict(f"{found.name}: this model is retired; restore it, then rename it.")
    if _published(models, model):
        models.require_idle(model, "rename it when they have ended")
    with lock.locked(models.home(model) / KEPT):
        return _rename(models, environment, found, name, replace)


def _rename(models: Models, environment: Environment, found: Model, name: str, replace: bool) -> Model:
    model, loras = found.id, _published(models, found.id)
    moves = {path: path.with_name(name + path.name[len(old) :]) for path, old in _with_names(loras, found.name)}
    if len({file_name.alike(str(path)) for path in moves.values()}) < len(moves):
        raise Conflict(f"{found.name}: two of its files would have one name; rename one by hand, then import again.")
    others = [new for old, new in moves.items() if new not in moves and new.exists() and not new.samefile(old)]
    if replace:
        publication.put_aside(*others)
    else:
        _require_free(others, "send replace: true to rename them to .bak")
    _move_all(moves)
    with models.changing():
        models.moved(model, {str(old): str(new) for old, new in moves.items()})
        renamed = models.change(model, name=name)
    _rename_kept(models.home(model), found.name, name)
    _retitle(models, model, name)
    _refresh(environment, [str(path) for move in moves.items() for path in move])
    return renamed


def _rename_kept(home: Path, old: str, new: str) -> None:
    """Let a roll-back find what lay there before under the new name."""
    for path in home.glob(f"{KEPT}/*/*"):
        if path.name in {f"{old}{suffix}" for suffix in (".safetensors", ".json", ".png")}:
            path.rename(path.with_name(new + path.name[len(old) :]))


def _refresh(environment: Environment, paths: Iterable[str]) -> None:
    for path in paths:
        if path.endswith(".safetensors"):
            environment.relist(Path(path))


def _retitle(models: Models, model: str, name: str) -> None:
    """Let the copies call themselves by the new name, and trainings to come replace them."""
    for version in models.versions(model):
        copy = Path(version.published or ".")
        if version.published and version.published != version.file and copy.is_file() and set_title(copy, name):
            publication.remember(Path(version.file).parent, copy)


def _published(models: Models, model: str) -> list[Path]:
    """The model's LoRA files where they are used: copies of versions, and all files of imported ones."""
    found: dict[str, None] = {}
    for version in models.versions(model):
        own = [version.published]
        if version.origin == "import":
            own += [one["file"] for one in version.facts.get("files") or []]
        found |= dict.fromkeys(path for path in own if path)
    inside = models.home(model)
    return [path for path in map(Path, found) if path.is_file() and not path.is_relative_to(inside)]


def _with_beside(loras: list[Path]) -> Iterator[Path]:
    """The files, each followed by what WebUIs keep beside it. The LoRA comes last, as whoever sees it expects those."""
    for lora in loras:
        beside = (lora.with_name(f"{lora.stem}{end}") for end in BESIDE)
        yield from (path for path in beside if path.is_file())
        yield lora


def _with_names(loras: list[Path], name: str) -> Iterator[tuple[Path, str]]:
    """The files with what is beside them, each with the beginning of its name that is the model's."""
    for lora in loras:
        old = name if lora.stem.startswith(name) else base_name(lora.stem)
        yield from ((path, old) for path in _with_beside([lora]))


def _move_all(moves: dict[Path, Path]) -> None:
    """Rename files, all or none."""
    done: list[tuple[Path, Path]] = []
    try:
        for old, new in moves.items():
            # A name that differs in case only is that of the same file on some systems.
            if new.exists() and not new.samefile(old):
                raise Conflict(f"{new}: there is such a file by now; try again.")
            old.rename(new)
            done.append((old, new))
    except BaseException:
        for old, new in reversed(done):
            with contextlib.suppress(OSError):
                new.rename(old)
        raise


def _require_free(paths: list[Path], what_to_do: str) -> None:
    there = [path for path in paths if path.exists()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise Conflict(f"{there[0]}{more}: there is such a file already; move it away, or {what_to_do}.")


def _free(path: Path, taken: set[str]) -> Path:
    """``path``, or one like it that no other file of the model has."""
    number, found = 1, path
    alike = {file_name.alike(one) for one in taken}
    while file_name.alike(str(found)) in alike or found.exists():
        number += 1
        found = path.with_name(f"{path.stem} {number}{path.suffix}")
    return found


def _home_of(path: Path, environment: Environment) -> Path:
    """Where a file that was at ``path`` returns to."""
    if path.parent.is_dir():
        return path
    folder = environment.lora_dir()
    if folder is None:
        raise UserError(f"{path.parent}: this folder, where the model's files were, is not there; make it again.")
    return folder / path.name


def _record(models: Models, model: str) -> dict[str, dict[str, str]]:
    """Where the files were and are, and what was published where; empty where there is no such record."""
    try:
        read = json.loads((models.home(model) / RECORD).read_text(encoding="utf-8"))
        return {key: {str(old): str(new) for old, new in read[key].items()} for key in ("files", "published")}
    except FileNotFoundError:
        return {"files": {}, "published": {}}
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f"{models.home(model) / RECORD}: this file, which says where those in {FOLDER} belong, is damaged "
            f"({error}); move them back yourself."
        ) from error


def _move(source: Path, target: Path) -> None:
    """Move a file, also to another disk, where it is compared before the old one is deleted.

    Raises:
        Conflict: there is a file in its place.
        OSError: it cannot be moved; it is where it was then.
    """
    if target.exists():
        raise Conflict(f"{target}: there is such a file already; move it away.")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        files.copy(source, target)
        status = source.stat()
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        if _sha256(source) != _sha256(target):
            target.unlink()
            raise OSError(None, "the copy differs", str(target)) from None
        source.unlink()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
