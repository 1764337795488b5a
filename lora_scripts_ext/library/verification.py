"""Whether what the library says of its files is true."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from .database import Database
from .model import Model, Version
from .models import Models

_CHUNK = 1 << 20


def problems(
    database: Database, progress: Callable[[int, int, str], None] = lambda done, total, what: None
) -> list[str]:
    """A sentence on each thing that is wrong: tables, files of versions, folders of images."""
    with database.reading() as connection:
        found = [
            f"{database.path}: {row[0]}." for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"
        ]
        found += [
            f"{database.path}: a row of {row[0]} refers to one of {row[2]} that is not there."
            for row in connection.execute("PRAGMA foreign_key_check")
        ]
        versions = [Version.of(row) for row in connection.execute("SELECT * FROM versions ORDER BY model, number")]
        all_models = [Model.of(row) for row in connection.execute("SELECT * FROM models ORDER BY name")]
    names = {model.id: model.name for model in all_models}
    models = Models(database)
    for model in all_models:
        if model.folder and not models.images(model).is_dir():
            found.append(f"{model.name}: the folder of its images, {model.folder}, is not there.")
    for done, version in enumerate(versions, 1):
        if reason := _of_file(Path(version.file), version.sha256):
            found.append(f"{names[version.model]}, version {version.number}: {version.file} {reason}.")
        progress(done, len(versions), "LoRA files")
    return found


def _of_file(path: Path, sha256: str) -> str:
    """What is wrong with a version's file; empty where nothing is."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "is not the file that was trained" if sha256 and digest.hexdigest() != sha256 else ""
