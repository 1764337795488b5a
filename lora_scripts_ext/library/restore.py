"""A library out of an archive, into a data folder that has none: all of it or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .. import file_name, files, json_text
from ..errors import Conflict, UserError
from . import schema
from .archive import DATA, FORMAT, MANIFEST, TABLES, Progress, Summary, can_travel, connect, settle
from .database import Database
from .models import FOLDER as MODELS
from .relocation import Relocation

#: what an import that was interrupted had put into the data folder
_JOURNAL = "import.json"
# The setting that holds the id of the import whose tables were written.
_IMPORTED = "imported"
_MOST_FILES = 1_000_000
_MOST_MANIFEST = 64 << 20
# Images and LoRA files do not shrink, tables and logs do, some fifty times.
_MOST_SHRUNK, _ALWAYS = 200, 16 << 20
_KEPT_FREE = 256 << 20
_CHUNK = 1 << 20
_DRIVE = re.compile("[A-Za-z]:")
_OWN = ("jobs", MODELS)
_ID = re.compile("[0-9a-f]{6,64}")
# What holds paths of the data folder: events and records of jobs, records of models, saved states of runs.
_WITH_PATHS = re.compile(r"jobs/.+\.jsonl?|models/[^/]+/(?:model|retired|watch/watch)\.json|.+/state/[^/]+/state\.json")
_JSON_COLUMNS = {
    "jobs": ("config", "progress", "result"), "models": ("config", "tags"), "versions": ("facts",),
    "watches": ("config", "state"),
}  # fmt: skip
_PATH_COLUMNS = {
    "jobs": ("source", "output_dir"), "models": ("folder",), "versions": ("file", "published"), "watches": ("folder",),
    "reviews": ("checkpoint",), "publications": ("file", "path"),
}  # fmt: skip
#: those that an archive has, in the order in which their rows refer to each other
_TABLES = ("models", "jobs", "attempts", "changes", "versions", "watches", "reviews", "publications", "settings")


def import_library(database: Database, archive: Path, progress: Progress = lambda done, total, what: None) -> Summary:
    """Take everything in an archive into the data folder of ``database``, which has to be empty.

    Paths are changed to where things are now. Until the tables are written, in one transaction, there is nothing to be
    seen of it; an import that was interrupted leaves no trace after the next one.

    Raises:
        UserError: it is no archive of a library, it is damaged, hostile or made by a newer version.
        Conflict: the library is not empty.
        OSError: a file cannot be read or written.
    """
    data_dir = database.folder.absolute()
    files.sweep(data_dir)
    _clear_interrupted(database)
    _require_empty(database)
    try:
        with zipfile.ZipFile(archive) as opened, files.temporary_folder(data_dir) as folder:
            manifest = _manifest(opened, archive)
            count, size = _unpack(opened, archive, folder, manifest, progress)
            return _take(database, folder, archive, manifest, count, size)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{archive}: this archive is damaged ({error}); copy or export it again.") from error


def _take(database: Database, folder: Path, archive: Path, manifest: dict[str, Any], count: int, size: int) -> Summary:
    """Put what is unpacked in ``folder`` in its place."""
    data_dir = database.folder.absolute()
    moves = [(old, data_dir / new) for old, new in manifest["moves"]]
    relocation = Relocation(moves, manifest["windows"])
    with closing(_tables(folder / TABLES, archive)) as connection:
        rows = {table: _rows(connection, table, relocation) for table in _TABLES}
    _require_plain_names(rows)
    for path in (folder / DATA).rglob("*"):
        if _WITH_PATHS.fullmatch(path.relative_to(folder / DATA).as_posix()) and path.is_file():
            _rewrite(path, relocation)
    notes = list(manifest["notes"]) + _finish(rows, data_dir)
    with _in_place(folder / DATA, data_dir) as import_id:
        try:
            _insert(database, rows, import_id)
        except sqlite3.IntegrityError as error:
            raise UserError(f"{archive}: its tables contradict themselves ({error}); export it again.") from error
    lengths = {table: len(rows[table]) for table in ("models", "versions", "jobs")}
    return Summary(**lengths, files=count, bytes=size, notes=tuple(notes))


def _insert(database: Database, rows: dict[str, list[dict[str, Any]]], import_id: str) -> None:
    with database.writing() as connection:
        _require_no_rows(connection)
        connection.execute("PRAGMA defer_foreign_keys = ON")
        for table in _TABLES:
            connection.execute(f"DELETE FROM {table}")
            for row in rows[table]:
                names, marks = ", ".join(row), ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
        connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", [_IMPORTED, import_id])


def _require_empty(database: Database) -> None:
    with database.reading() as connection:
        _require_no_rows(connection)
    for name in _OWN:
        folder = database.folder / name
        if folder.is_dir() and any(folder.iterdir()):
            raise Conflict(f"{folder}: there is something in it already; import into a new --data-dir.")


def _require_no_rows(connection: sqlite3.Connection) -> None:
    for table in ("models", "jobs"):
        if connection.execute(f"SELECT 1 FROM {table}").fetchone() is not None:
            raise Conflict(f"The library here holds {table} already; import into a new --data-dir.")


def _manifest(opened: zipfile.ZipFile, archive: Path) -> dict[str, Any]:
    """What the archive says of itself, checked.

    Raises:
        UserError: it is no archive of a library, or one of a newer version.
    """
    foreign = UserError(f"{archive}: this is no library; name a file that `library export` has written.")
    try:
        member = opened.getinfo(MANIFEST)
        if member.file_size > _MOST_MANIFEST:
            raise foreign
        manifest = json.loads(opened.read(member).decode("utf-8"))
        versions = int(manifest["format"]), int(manifest["tables"])
        newer = versions[0] > FORMAT or versions[1] > len(schema.MIGRATIONS)
        for old, new in manifest["moves"]:
            if new:
                _safe(new)
            bool(Path(old))
        bool(manifest["windows"]), int(manifest["files"]), int(manifest["bytes"])
        manifest["notes"] = [str(note) for note in manifest["notes"]]
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise foreign from error
    if newer:
        made_by = str(manifest.get("made_by", "a newer LoRA Trainer"))[:100]
        raise UserError(f"{archive}: it was made by {made_by}, which is newer than this one; update this one.")
    return manifest


def _unpack(
    opened: zipfile.ZipFile, archive: Path, folder: Path, manifest: dict[str, Any], progress: Progress
) -> tuple[int, int]:
    """Write the members into ``folder``; returns how many files that are without the tables, and their bytes."""
    members = [one for one in opened.infolist() if one.filename != MANIFEST and not one.is_dir()]
    _require_room(members, archive, folder)
    count, size = 0, 0
    for done, member in enumerate(members, 1):
        path = folder.joinpath(*_place(member, archive))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            written = _extract(opened, member, path, archive)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise UserError(f"{archive}: it holds {member.filename[:200]!r} twice; export it again.") from error
        if member.filename != TABLES:
            count, size = count + 1, size + written
        progress(done, len(members), "files")
    if not (folder / TABLES).is_file() or (count, size) != (manifest["files"], manifest["bytes"]):
        raise UserError(f"{archive}: some of its files are missing; copy or export it again.")
    (folder / DATA).mkdir(exist_ok=True)
    return count, size


def _require_room(members: list[zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    if len(members) > _MOST_FILES:
        raise UserError(f"{archive}: it holds {len(members)} files, at most {_MOST_FILES} are taken; split it.")
    total = sum(one.file_size for one in members)
    bomb = any(one.file_size > max(_ALWAYS, one.compress_size * _MOST_SHRUNK) for one in members)
    # Members that share their content would take more than the file holds.
    if bomb or total > max(_ALWAYS, archive.stat().st_size * _MOST_SHRUNK):
        raise UserError(f"{archive}: what it holds is far larger than files of a library can be; it is not imported.")
    free = shutil.disk_usage(folder).free - _KEPT_FREE
    if total > free:
        raise UserError(
            f"{archive}: it needs {total >> 20} MiB, there are {max(0, free) >> 20} MiB free in {folder.parent}; free "
            "some space."
        )


def _place(member: zipfile.ZipInfo, archive: Path) -> tuple[str, ...]:
    """Where a member goes, as parts of a path; nowhere but among the tables and what belongs to jobs and models."""
    name = member.filename
    mode = member.external_attr >> 16
    if name == TABLES:
        return (TABLES,)
    refusal = UserError(
        f"{archive}: it holds {name[:200]!r}, which does not belong into a library; it is not imported."
    )
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise refusal
    try:
        parts = _safe(name)
    except ValueError as error:
        raise refusal from error
    # Beside the folders there are files such as service.yaml, which say what is run.
    if parts[0] != DATA or len(parts) < 3 or parts[1].startswith("."):
        raise refusal
    return tuple(file_name.cleaned(part) for part in parts) if os.name == "nt" else tuple(parts)


def _safe(name: str) -> list[str]:
    """The parts of a relative path that leads down.

    Raises:
        ValueError: it leads elsewhere on some system.
    """
    parts = name.split("/")
    if not can_travel(name) or _DRIVE.match(name) or any(part in ("", ".", "..") for part in parts):
        raise ValueError(name)
    return parts


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, archive: Path) -> int:
    size = 0
    with opened.open(member) as packed, path.open("xb") as out:
        while chunk := packed.read(_CHUNK):
            size += len(chunk)
            if size > member.file_size:
                raise UserError(f"{archive}: {member.filename[:200]} is larger than it says; it is not imported.")
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return size


def _tables(path: Path, archive: Path) -> sqlite3.Connection:
    """The archive's tables, brought to this version.

    Raises:
        UserError: they are damaged, or not ours.
    """
    connection = connect(path)
    try:
        found = schema.version(connection)
        if not 0 < found <= len(schema.MIGRATIONS):
            raise sqlite3.DatabaseError(f"version {found} of the tables")
        kinds = {row[0] for row in connection.execute("SELECT type FROM sqlite_master")}
        # Triggers and views would do things when rows are read or written.
        if kinds - {"table", "index"}:
            raise sqlite3.DatabaseError("more than tables")
        if (problem := connection.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(problem)
        schema.migrate(connection, schema.MIGRATIONS)
        _require_our_columns(connection)
        settle(connection)
        if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise sqlite3.DatabaseError("rows that refer to missing ones")
    except sqlite3.Error as error:
        connection.close()
        raise UserError(f"{archive}: its tables are damaged ({error}); copy or export it again.") from error
    return connection


def _require_our_columns(connection: sqlite3.Connection) -> None:
    """Refuse tables of other columns, whose names would become part of statements.

    Raises:
        sqlite3.DatabaseError: there are such.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as ours:
        schema.migrate(ours, schema.MIGRATIONS)
        for table in _TABLES:
            query = f"SELECT name FROM pragma_table_info('{table}') ORDER BY name"
            if [row[0] for row in connection.execute(query)] != [row[0] for row in ours.execute(query)]:
                raise sqlite3.DatabaseError(f"other columns in {table}")


def _require_plain_names(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Refuse ids and names that would lead out of the data folder.

    Raises:
        UserError: there are such.
    """
    for table in ("models", "jobs", "versions"):
        if bad := [row["id"] for row in rows[table] if not _ID.fullmatch(str(row["id"]))]:
            raise UserError(
                f"The archive's table {table} has the id {bad[0][:40]!r}, which is none of ours; export again."
            )
    if bad := [row["name"] for row in rows["models"] if file_name.problem(str(row["name"]))]:
        raise UserError(f"The archive has a model called {bad[0][:80]!r}; rename it where it comes from.")


def _rows(connection: sqlite3.Connection, table: str, relocation: Relocation) -> list[dict[str, Any]]:
    rows = []
    for found in connection.execute(f"SELECT * FROM {table}"):
        row = dict(found)
        for column in _JSON_COLUMNS.get(table, ()):
            try:
                row[column] = json_text.dumps(relocation.tree(json.loads(row[column])))
            except (ValueError, TypeError, RecursionError) as error:
                raise UserError(f"The table {table} of the archive holds what is no JSON; export it again.") from error
        for column in _PATH_COLUMNS.get(table, ()):
            row[column] = relocation.path(str(row[column]))
        rows.append(row)
    return rows


def _finish(rows: dict[str, list[dict[str, Any]]], data_dir: Path) -> list[str]:
    """What only this machine can say; returns sentences on what is not here."""
    notes = []
    for model in rows["models"]:
        folder = model["folder"]
        if folder and Path(folder) == data_dir / MODELS / model["id"] / "images":
            model["folder"] = ""
    for version in rows["versions"]:
        if version["published"] and not Path(version["published"]).is_file():
            version["published"] = ""
    for job in rows["jobs"]:
        config = json.loads(job["config"])
        missing = [
            path for key in ("base_model", "train_data_dir", "input")
            if (path := config.get(key)) and not Path(path).is_relative_to(data_dir) and not Path(path).exists()
        ]  # fmt: skip
        if job["state"] == "queued" and missing:
            notes.append(f"Job {job['id']} ({job['name']}) needs {missing[0]}, which is not on this machine.")
    return notes


def _rewrite(path: Path, relocation: Relocation) -> None:
    """Change the paths in a JSON file, or in each line of one; a line that is no JSON stays."""
    lines = path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
    changed = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            changed.append(line)
            continue
        moved = relocation.tree(value)
        changed.append(line if moved == value else json_text.dumps(moved).encode())
    path.write_bytes(b"\n".join(changed) + (b"\n" if path.suffix == ".jsonl" and changed else b""))


@contextmanager
def _in_place(source: Path, data_dir: Path) -> Iterator[str]:
    """Move what is in ``source`` into the data folder; back again if what follows fails.

    Yields an id, to be written with the tables: by it is known whether they were.
    """
    import_id = secrets.token_hex(8)
    names = sorted(path.name for path in source.iterdir())
    for name in names:
        target = data_dir / name
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        if target.exists():
            raise Conflict(f"{target}: there is something of that name already; import into a new --data-dir.")
    files.write_text(data_dir / _JOURNAL, json_text.dumps({"id": import_id, "names": names}))
    try:
        for name in names:
            files.move(source / name, data_dir / name)
        yield import_id
    except BaseException:
        for name in names:
            with contextlib.suppress(OSError):
                (data_dir / name).rename(source / name)
        raise
    finally:
        (data_dir / _JOURNAL).unlink(missing_ok=True)


def _clear_interrupted(database: Database) -> None:
    """Delete what an import has moved into the data folder whose process ended before its tables were written."""
    journal = database.folder / _JOURNAL
    if not journal.is_file():
        return
    import_id, names = "", list[str]()
    with contextlib.suppress(ValueError, LookupError, TypeError):
        written = json.loads(journal.read_text(encoding="utf-8"))
        import_id, names = str(written["id"]), [str(name) for name in written["names"]]
    with database.reading() as connection:
        row = connection.execute("SELECT value FROM settings WHERE key = ?", [_IMPORTED]).fetchone()
    if row is None or row[0] != import_id:
        for name in names:
            with contextlib.suppress(ValueError):
                if len(_safe(name)) == 1:
                    shutil.rmtree(database.folder / name, ignore_errors=True)
    journal.unlink(missing_ok=True)
