"""The files and folders of a job: where they lie on the worker's machine, where on a node."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base_models.inference_yaml import read_inference_yaml
from ..errors import UserError
from ..images import excluded
from ..jobs import event_log
from ..jobs.kinds.kind import Kind
from ..library.job import Job
from ..training import lock

# What the worker writes into a job's folder itself.
_OF_THE_WORKER = (event_log.NAME, "output.log", "job.json")
# In the folder of a training: what a continuation does not need.
_STAYS = ("previous", "cache")
# Keys of a file even where that is still to be written.
_FILE_KEYS = ("metadata_path",)


@dataclass(frozen=True)
class Root:
    """A folder of which all files, or some, are there on both machines.

    Attributes:
        folder: on the worker's machine, absolute.
        place: on the node, relative to the job's working folder.
        only: the files that belong to it, relative to ``folder``; empty for all, in sub-folders too.
        written: whether the job changes something in it.
        without: absolute paths below ``folder`` that are roots of their own, or stay on the worker's machine.
        ignored: names in ``folder`` that belong to neither machine's copy.
    """

    folder: str
    place: str
    only: tuple[str, ...] = ()
    written: bool = False
    without: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def listed(self) -> Iterator[str]:
        """Names of the files to be sent, relative to the folder, with forward slashes."""
        ignored = (f"{self.folder}/{name}" for name in self.ignored)
        yield from names(Path(self.folder), self.only, {*self.without, *ignored})

    def on_node(self, work: Path) -> Path:
        """The folder on a node whose working folder for the job is ``work``."""
        return work / self.place


def names(folder: Path, only: Collection[str] = (), without: Collection[str] = ()) -> Iterator[str]:
    """The files below ``folder``, relative to it, without locks and hidden ones; links to folders are not followed."""
    if only:
        yield from (name for name in only if (folder / name).is_file() and str(folder / name) not in without)
        return
    for here, below, files in os.walk(folder):
        below[:] = sorted(
            name
            for name in below
            if (not name.startswith(".") or name == excluded.HIDDEN) and f"{here}/{name}" not in without
        )
        for name in sorted(files):
            path = Path(here, name)
            if not name.startswith(".") and name != lock.NAME and str(path) not in without and path.is_file():
                yield path.relative_to(folder).as_posix()


def obstacle(kind: Kind) -> str:
    """Why jobs of a kind cannot run on a node, as a sentence; empty where they can."""
    if kind.reads is not None:
        return ""
    return f"A job of the kind {kind.name} works on the library itself; it waits for a worker without --ray."


def of_job(job: Job, kind: Kind, job_folder: Path) -> tuple[list[Root], dict[str, str]]:
    """The roots of a job, and for each path of its config its place on a node, relative to the working folder.

    Raises:
        UserError: the job is none for a node.
    """
    if problem := obstacle(kind):
        raise UserError(f"{job.name}: {problem}")
    own = Root(str(job_folder.absolute()), f"jobs/{job.id}", written=True, ignored=_OF_THE_WORKER)
    roots, places = [own], dict[str, str]()
    for path, is_file, written in _paths(job.config, kind):
        holding = [one for one in roots if _holds(one, path) and (one.written or not written)]
        root = max(holding, key=lambda one: len(one.folder), default=None)
        if root is None:
            root = _root(path, is_file, written, len(roots))
            roots.append(root)
        relative = Path(path).relative_to(root.folder).as_posix()
        places[path] = root.place if relative == "." else f"{root.place}/{relative}"
    return [_apart(root, roots) for root in roots], places


def _paths(config: Mapping[str, Any], kind: Kind) -> list[tuple[str, bool, bool]]:
    """The paths of a config, the outermost first: each with whether it is a file, and whether the job writes there."""
    found: dict[str, tuple[bool, bool]] = {}
    for key in dict.fromkeys((*kind.writes, *(kind.reads or ()))):
        value = config.get(key)
        for path in value if isinstance(value, list) else [value]:
            written = key in kind.writes
            # A name that is no path here, such as one of a hub, is the node's own affair.
            if isinstance(path, str) and Path(path).is_absolute() and (written or Path(path).exists()):
                is_file = Path(path).is_file() or (key in _FILE_KEYS and not Path(path).is_dir())
                found.setdefault(os.path.normpath(path), (is_file, written))
    return [(path, *found[path]) for path in sorted(found, key=lambda path: len(Path(path).parts))]


def _root(path: str, is_file: bool, written: bool, number: int) -> Root:
    if is_file:
        file = Path(path)
        return Root(str(file.parent), f"files/{number}", (file.name, *_beside(file)), written)
    stays = tuple(f"{path}/{name}" for name in _STAYS) if written else ()
    return Root(path, f"files/{number}/{Path(path).name}", written=written, without=stays)


def _beside(file: Path) -> Iterator[str]:
    """What a checkpoint needs besides itself: its settings under its name, and the tokenizers that these name."""
    if not file.with_suffix(".yaml").is_file():
        return
    yield f"{file.stem}.yaml"
    for folder in read_inference_yaml(file).text_folders:
        if folder is not None and folder.is_relative_to(file.parent):
            inside = folder.relative_to(file.parent).as_posix()
            yield from (f"{inside}/{name}" for name in names(folder))


def _holds(root: Root, path: str) -> bool:
    """Whether a path is the root's folder, or one of its files."""
    if root.only:
        return any(f"{root.folder}/{name}" == path for name in root.only)
    inside = path == root.folder or path.startswith(f"{root.folder}/")
    return inside and not any(path == other or path.startswith(f"{other}/") for other in root.without)


def _apart(root: Root, roots: Sequence[Root]) -> Root:
    """``root`` without the folders of others that lie in it."""
    inner = tuple(one.folder for one in roots if one is not root and one.folder.startswith(f"{root.folder}/"))
    return Root(root.folder, root.place, root.only, root.written, (*root.without, *inner), root.ignored)


def replaced(value: Any, pairs: Sequence[tuple[str, str]]) -> Any:
    """JSON data with every path, also inside of sentences, replaced: the first of each pair by the second."""
    if isinstance(value, str):
        for old, new in pairs:
            value = value.replace(old, new)
        return value
    if isinstance(value, dict):
        return {key: replaced(item, pairs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(item, pairs) for item in value]
    return value
