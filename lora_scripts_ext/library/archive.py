"""The whole library as one zip: what is in it, and how it is written."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import __version__, file_name, files, json_text
from ..errors import UserError
from . import schema
from .database import Database
from .job import OWNED
from .models import FOLDER as MODELS
from .models import RUNS

Progress = Callable[[int, int, str], None]
#: version of what is below
FORMAT = 1
#: in the archive: what it is, the tables, and the files by their place in the data folder
MANIFEST, TABLES, DATA = "library.json", "library.sqlite3", "data"
_TEXTS = frozenset({".json", ".jsonl", ".txt", ".caption", ".csv", ".tsv", ".yaml", ".log", ".sqlite3"})
_CHUNK = 1 << 20
_LARGE = 1 << 31
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_AGAIN = "Its process did not come along when the library was exported; it continues from its last state."


@dataclass(frozen=True)
class Summary:
    """What an archive holds.

    Attributes:
        bytes: of all files, not compressed.
        notes: sentences on what is not in it, or had to be changed.
    """

    models: int
    versions: int
    jobs: int
    files: int
    bytes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A file to be written: its place in the data folder of whoever imports it, and where it is."""

    name: str
    path: Path


def export_library(database: Database, archive: Path, progress: Progress = lambda done, total, what: None) -> Summary:
    """Write the tables as they are at one moment, the jobs' folders, the models' images and the LoRA files.

    Not in it: keys of the API, requests, uploads, and what can be made again, such as caches. Jobs that run are in it
    as queued.

    Raises:
        UserError: nothing can be written there.
        OSError: a file cannot be written; there is no archive then, or still the old one.
    """
    if archive.is_dir():
        raise UserError(f"{archive}: this is a folder; name a new .zip file.")
    with files.temporary_folder(database.folder) as folder:
        tables = folder / TABLES
        _snapshot(database, tables)
        with closing(connect(tables)) as connection:
            moves, found, notes = _contents(connection, database.folder.absolute())
            counts = {
                name: int(connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0])
                for name in ("models", "versions", "jobs")
            }
        with files.replacing(archive) as temporary:
            written, size = _write(temporary, tables, found, notes, progress)
            summary = Summary(**counts, files=written, bytes=size, notes=tuple(notes))
            with zipfile.ZipFile(temporary, "a") as opened:
                opened.writestr(MANIFEST, json_text.dumps(_manifest(moves, summary), indent=1))
    return summary


def can_travel(name: str) -> bool:
    """Whether a relative path with forward slashes means the same on every system."""
    return file_name.is_text(name) and _ODD.search(name) is None


def settle(connection: sqlite3.Connection) -> None:
    """Let the tables stand for themselves: without secrets, and without processes that run jobs."""
    for table in ("api_keys", "requests", "uploads", "deliveries"):
        connection.execute(f"DELETE FROM {table}")
    now = time.time()
    connection.execute(
        "UPDATE attempts SET ended = ?, outcome = 'requeued', reason = ? WHERE ended IS NULL", [now, _AGAIN]
    )
    for job, stop in connection.execute(f"SELECT id, stop FROM jobs WHERE state IN {OWNED}").fetchall():
        state = {"stop": "stopped", "cancel": "cancelled"}.get(stop, "queued")
        connection.execute(
            "UPDATE jobs SET state = ?, stop = '', reason = ?, retry_at = NULL, changed = ? WHERE id = ?",
            [state, _AGAIN, now, job],
        )
        connection.execute(
            "INSERT INTO changes (job, at, state, reason) VALUES (?, ?, ?, ?)", [job, now, state, _AGAIN]
        )


def _snapshot(database: Database, path: Path) -> None:
    """The tables as they are at one moment, while others go on writing."""
    with closing(connect(database.path)) as source, closing(connect(path)) as target:
        source.backup(target)
        # One file, without a journal beside it.
        target.execute("PRAGMA journal_mode = DELETE")
        settle(target)
        # What was deleted is still in the file's free pages.
        target.execute("VACUUM")


def connect(path: Path) -> sqlite3.Connection:
    """A connection to tables that nobody else uses."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _contents(connection: sqlite3.Connection, data_dir: Path) -> tuple[list[tuple[str, str]], list[_Found], list[str]]:
    """What has to move when the library is imported, the files to write, and what is not among them.

    A move is an absolute path here and, relative to the data folder, the place there.
    """
    moves = [(str(path), "") for path in dict.fromkeys((data_dir, data_dir.resolve()))]
    found: list[_Found] = []
    notes: list[str] = []
    ended = {row["output_dir"]: row["state"] == "done" for row in connection.execute("SELECT * FROM jobs")}
    for folder in _folders(data_dir, ended):
        found += _files(folder, folder.relative_to(data_dir).as_posix(), ended, notes)
    for row in connection.execute("SELECT id, name, folder FROM models WHERE folder != ''"):
        folder = Path(row["folder"])
        if folder.is_relative_to(data_dir):
            continue
        own = data_dir / MODELS / row["id"] / "images"
        # Where the model has images of both kinds they must not be mixed.
        place = f"{MODELS}/{row['id']}/{'folder' if own.is_dir() and any(own.iterdir()) else 'images'}"
        if not folder.is_dir():
            notes.append(f"{row['name']}: the folder of its images, {folder}, is not there.")
        moves.append((str(folder), place))
        found += _files(folder, place, {}, notes)
    for row in connection.execute("SELECT * FROM versions"):
        file = Path(row["file"])
        if not file.is_file():
            notes.append(f"Version {row['number']} of model {row['model']}: its file {file} is not there.")
        elif not file.is_relative_to(data_dir):
            place = f"{MODELS}/{row['model']}/versions/{row['number']}/{file.name}"
            moves.append((str(file), place))
            found.append(_Found(place, file))
    return moves, found, notes


def _folders(data_dir: Path, runs: dict[str, bool]) -> list[Path]:
    """Those of the data folder that belong to the library: of jobs and models, and of runs beside them."""
    tops = {"jobs", MODELS}
    for run in map(Path, filter(None, runs)):
        if run.is_relative_to(data_dir) and run != data_dir:
            tops.add(run.relative_to(data_dir).parts[0])
    return [data_dir / top for top in sorted(tops) if (data_dir / top).is_dir()]


def _files(folder: Path, place: str, runs: dict[str, bool], notes: list[str]) -> Iterator[_Found]:
    """The files of a folder, without what can be made again; ``runs``: folders of runs, and whether each is done."""
    for here, below, names in os.walk(folder):
        unwanted = {name for name in below if files.is_temporary(name)}
        if Path(here).parent.name == RUNS and Path(here).parents[2].name == MODELS:
            unwanted.add("cache")
        if here in runs:
            # Of a run that is done nothing is resumed.
            unwanted |= {"cache", "state"} if runs[here] else {"cache"}
        below[:] = sorted(set(below) - unwanted)
        for name in sorted(names):
            path = Path(here) / name
            relative = path.relative_to(folder).as_posix()
            if files.is_temporary(name) or name.endswith(".lock"):
                continue
            if path.is_symlink() or not path.is_file():
                notes.append(f"{path} is a link or no plain file; copy it yourself.")
            elif not can_travel(relative):
                notes.append(f"{path.parent}: the name {name!a} holds characters of one system only; rename the file.")
            else:
                yield _Found(f"{place}/{relative}", path)


def _write(archive: Path, tables: Path, found: list[_Found], notes: list[str], progress: Progress) -> tuple[int, int]:
    """Write all but the manifest; returns how many files that are, and their bytes."""
    written, size = 0, 0
    with zipfile.ZipFile(archive, "w", strict_timestamps=False) as opened:
        _add(opened, TABLES, tables)
        for done, one in enumerate(found, 1):
            try:
                size += _add(opened, f"{DATA}/{one.name}", one.path)
                written += 1
            except FileNotFoundError:
                # A job that runs replaces its files.
                notes.append(f"{one.path} was deleted while the library was exported.")
            progress(done, len(found), "files")
    return written, size


def _add(opened: zipfile.ZipFile, name: str, path: Path) -> int:
    """Write a file as it is when it is read; returns its bytes."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        member = zipfile.ZipInfo(name, max(time.localtime(status.st_mtime)[:6], (1980, 1, 1, 0, 0, 0)))
        member.external_attr = (stat.S_IFREG | 0o644) << 16
        member.compress_type = zipfile.ZIP_DEFLATED if path.suffix.lower() in _TEXTS else zipfile.ZIP_STORED
        with opened.open(member, "w", force_zip64=status.st_size >= _LARGE) as out:
            shutil.copyfileobj(file, out, _CHUNK)
    return member.file_size


def _manifest(moves: list[tuple[str, str]], summary: Summary) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "tables": len(schema.MIGRATIONS),
        "made_by": f"LoRA Trainer {__version__}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "windows": os.name == "nt",
        "moves": [list(move) for move in moves],
        "files": summary.files,
        "bytes": summary.bytes,
        "notes": list(summary.notes),
    }
