"""The models of the library and their versions. Every change is one transaction."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePath
from typing import Any

from .. import config_check, file_name, files, json_text
from ..errors import Conflict, NotFound, UserError
from . import publications
from .database import Database
from .job import ENDED, OWNED, Job
from .model import KINDS, Model, ModelPage, Origin, State, Version

#: in the data folder: of each model a folder with its images and trainings, of deleted ones the same
FOLDER, TRASH = "models", "trash"
#: a model as it was last changed, in its own folder: for a library that is made again
RECORD = "model.json"
#: in a model's folder: a folder for each of its trainings
RUNS = "runs"
#: the kinds of jobs that make versions
TRAINING = ("train", "update")
#: of a training's result
_FACTS = (
    "steps", "loss", "seconds", "checkpoints", "previews", "dataset_version", "held_out", "suggested", "warnings",
)  # fmt: skip
#: the kinds of jobs that make a version of LoRAs that are there, which is also the version's origin
MAKING = ("merge", "resize")
#: the kinds of jobs that use LoRAs that are there
USING = ("generate", "review", "merge", "resize", "into_checkpoint")
_LONGEST_TRIGGER = 200
_LONGEST_TAG, _MOST_TAGS = 60, 50
_MOST_CONFIG = 64 << 10
_CHANGEABLE = ("name", "kind", "trigger_word", "folder", "config", "tags")
_now = time.time


class Models:
    """The models of a library. Methods may be called from any thread and process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """The library's file."""
        return self._database

    def changing(self) -> AbstractContextManager[object]:
        """All changes within this context are kept together at its end, or, after an exception, not at all."""
        return self._database.writing()

    def create(
        self,
        name: str,
        kind: str,
        *,
        trigger_word: str = "",
        folder: str = "",
        config: dict[str, Any] | None = None,
        tags: Sequence[str] = (),
    ) -> Model:
        """Add a model.

        Raises:
            UserError: a value cannot be used.
            Conflict: there is a model of that name.
        """
        now = _now()
        fields = _checked(
            {
                "name": name, "kind": kind, "trigger_word": trigger_word, "folder": folder, "config": config or {},
                "tags": tags,
            }
        )  # fmt: skip
        values = {"id": secrets.token_hex(6), **fields, "created": now, "changed": now}
        with self._database.writing() as connection:
            _require_free(connection, name, "")
            names = ", ".join(values)
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO models ({names}) VALUES ({marks})", list(values.values()))
            created = _get(connection, str(values["id"]))
        self._record(created)
        return created

    def get(self, model: str) -> Model:
        """The model with this id.

        Raises:
            NotFound: there is none.
        """
        with self._database.reading() as connection:
            return _get(connection, model)

    def page(
        self,
        *,
        search: str = "",
        kind: str = "",
        tag: str = "",
        standing: str = "",
        review: str = "",
        retired: bool | None = False,
        limit: int = 50,
        cursor: str = "",
    ) -> ModelPage:
        """Models, the last changed first, at most ``limit`` after ``cursor``, which is ``next`` of the page before.

        Args:
            search: only those with these words in name, trigger word, tags, kind or base model, in any case.
            kind: only those of this kind.
            tag: only those with this tag, in any case.
            standing: only those that stand so (``State.standing``).
            review: only those whose newest version was last ``requested``, ``approved`` or ``rejected``, or ``none``.
            retired: only those that are retired, or are not; None for all.
            limit: most on a page.
            cursor: empty for the first page.

        Raises:
            UserError: the cursor is none of ours.
        """
        words, wanted = search.casefold().split(), tag.strip().casefold()
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM models ORDER BY changed DESC, id DESC").fetchall()
            # Here rather than in SQL, which knows no case but that of ASCII.
            found = [
                row
                for row in rows
                if (not kind or row["kind"] == kind)
                and (retired is None or (row["retired"] is not None) == retired)
                and (not wanted or wanted in map(str.casefold, json.loads(row["tags"])))
            ]
            if words:
                texts = search_texts(connection, found)
                found = [row for row in found if all(word in texts[row["id"]] for word in words)]
            if standing:
                found = [row for row in found if _state(connection, row["id"]).standing == standing]
            if review:
                found = [row for row in found if _review(connection, row["id"]) == review]
        after = _cursor(cursor) if cursor else None
        left = [row for row in found if after is None or (row["changed"], row["id"]) < after]
        models = [Model.of(row) for row in left[:limit]]
        return ModelPage(models, len(found), f"{models[-1].changed!r},{models[-1].id}" if left[limit:] else None)

    def change(self, model: str, **fields: Any) -> Model:
        """Change ``name``, ``kind``, ``trigger_word``, ``folder``, ``tags`` or ``config`` (the whole draft).

        Raises:
            NotFound: there is no such model.
            UserError: a value cannot be used.
            Conflict: another model has the name, or the folder is in use.
        """
        values = _checked({key: value for key, value in fields.items() if key in _CHANGEABLE})
        with self._database.writing() as connection:
            before = _get(connection, model)
            if "name" in values:
                _require_free(connection, values["name"], model)
            if values.get("folder", before.folder) != before.folder:
                _require_idle(connection, before, "its folder can be changed when they have ended")
            sets = ", ".join(f"{key} = ?" for key in (*values, "changed"))
            connection.execute(f"UPDATE models SET {sets} WHERE id = ?", [*values.values(), _now(), model])
            changed = _get(connection, model)
        self._record(changed)
        return changed

    def delete(self, model: str, *, trash: bool = False) -> Path | None:
        """Forget a model and its versions. Its files stay; with ``trash`` those in the data folder are moved.

        Returns:
            Where they were moved to.

        Raises:
            NotFound: there is no such model.
            Conflict: a job of it has not ended.
            OSError: the files cannot be moved; the model is still there.
        """
        own = self.home(model)
        moved = self._database.folder / TRASH / f"{model}-{time.strftime('%Y%m%d-%H%M%S')}"
        with self._database.writing() as connection:
            _require_idle(connection, _get(connection, model), "stop or cancel them first")
            connection.execute("DELETE FROM models WHERE id = ?", [model])
            with contextlib.suppress(OSError):
                (own / RECORD).unlink(missing_ok=True)
            if not trash or not own.is_dir():
                return None
            # Within the transaction: if the files cannot be moved, the model stays.
            moved.parent.mkdir(parents=True, exist_ok=True)
            own.rename(moved)
        return moved

    def home(self, model: str) -> Path:
        """The model's folder in the data folder; it need not exist."""
        return self._database.folder.absolute() / FOLDER / model

    def images(self, model: Model) -> Path:
        """The folder of its images; it need not exist."""
        return Path(model.folder) if model.folder else self.home(model.id) / "images"

    def states(self, models: Sequence[Model]) -> dict[str, State]:
        """How far each of the models is, by id."""
        with self._database.reading() as connection:
            return {model.id: _state(connection, model.id) for model in models}

    def versions(self, model: str) -> list[Version]:
        """The versions of a model, the newest first.

        Raises:
            NotFound: there is no such model.
        """
        with self._database.reading() as connection:
            _get(connection, model)
            rows = connection.execute("SELECT * FROM versions WHERE model = ? ORDER BY number DESC", [model])
            return [Version.of(row) for row in rows]

    def version(self, model: str, number: int) -> Version:
        """One version of a model.

        Raises:
            NotFound: there is none of this number.
        """
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM versions WHERE model = ? AND number = ?", [model, number])
            if (found := row.fetchone()) is None:
                raise NotFound(f"Model {model} has no version {number}; GET /models/{model}/versions lists them.")
            return Version.of(found)

    def after(self, place: int) -> list[tuple[int, Version]]:
        """The versions that were recorded after a place, the oldest first, each with its own place; 0 is before all."""
        with self._database.reading() as connection:
            places = connection.execute("SELECT rowid FROM versions WHERE rowid > ? ORDER BY rowid", [place]).fetchall()
            rows = connection.execute("SELECT * FROM versions WHERE rowid > ? ORDER BY rowid", [place])
            return [(own[0], Version.of(row)) for own, row in zip(places, rows, strict=True)]

    def published(self, version: str, path: str) -> None:
        """A version's file is at ``path`` for use; empty where it has been taken away."""
        with self._database.writing() as connection:
            connection.execute("UPDATE versions SET published = ? WHERE id = ?", [path, version])

    def add_version(
        self,
        model: str,
        file: Path,
        origin: Origin,
        *,
        facts: dict[str, Any],
        sha256: str = "",
        published: str = "",
        parent: str | None = None,
    ) -> Version:
        """Record a LoRA that no job of the library has made as the next version of a model.

        Without ``sha256`` the file is read for it.

        Raises:
            NotFound: there is no such model.
        """
        columns = {
            "id": secrets.token_hex(6), "model": model, "job": None, "parent": parent, "file": str(file),
            "sha256": sha256 or _digest(file), "published": published, "facts": json_text.dumps(facts),
            "created": _now(), "origin": origin,
        }  # fmt: skip
        with self._database.writing() as connection:
            _get(connection, model)
            insert_row(connection, columns)
            row = connection.execute("SELECT * FROM versions WHERE id = ?", [columns["id"]]).fetchone()
            return Version.of(row)

    def all_versions(self) -> list[Version]:
        """The versions of all models."""
        with self._database.reading() as connection:
            return [Version.of(row) for row in connection.execute("SELECT * FROM versions ORDER BY model, number")]

    def moved(self, model: str, moves: Mapping[str, str]) -> None:
        """Files of a model's versions lie elsewhere: old path -> new path, wherever the library names them."""
        with self._database.writing() as connection:
            for version in self.versions(model):
                connection.execute(
                    "UPDATE versions SET file = ?, published = ?, facts = ? WHERE id = ?",
                    [
                        moves.get(version.file, version.file), moves.get(version.published, version.published),
                        json_text.dumps(_with_paths(version.facts, moves)), version.id,
                    ],
                )  # fmt: skip
            for old, new in moves.items():
                connection.execute("UPDATE publications SET path = ? WHERE model = ? AND path = ?", [new, model, old])

    def retire(self, model: str, when: float | None) -> Model:
        """Put a model aside at ``when``, or, with None, take it back; its files are the caller's to move.

        Raises:
            NotFound: there is no such model.
        """
        with self._database.writing() as connection:
            _get(connection, model)
            connection.execute("UPDATE models SET retired = ?, changed = ? WHERE id = ?", [when, _now(), model])
            changed = _get(connection, model)
        self._record(changed)
        return changed

    def use(self, model: str) -> tuple[int, float | None]:
        """How many jobs have drawn with the model's LoRAs or made others of them, and when the last of them was queued,
        in seconds since the epoch."""
        paths = {json.dumps(path)[1:-1] for one in self.versions(model) for path in (one.file, one.published) if path}
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT config, created FROM jobs WHERE kind IN {USING}").fetchall()
        # As the table may hold them: with other characters than ASCII escaped or not.
        texts = paths | {json_text.dumps(json.loads(f'"{path}"'))[1:-1] for path in paths}
        times = [row["created"] for row in rows if any(text in row["config"] for text in texts)]
        return len(times), max(times, default=None)

    def check(self, **fields: Any) -> None:
        """Refuse values that :meth:`change` would refuse whatever the model.

        Raises:
            UserError: one cannot be used.
        """
        _checked({key: value for key, value in fields.items() if key in _CHANGEABLE})

    def require_idle(self, model: str, what_to_do: str) -> None:
        """Refuse while a job of the model waits or runs.

        Raises:
            Conflict: one does.
        """
        with self._database.reading() as connection:
            _require_idle(connection, _get(connection, model), what_to_do)

    def require_free(self, name: str, model: str = "") -> None:
        """Refuse a name that is none, or that another model has.

        Raises:
            UserError: it cannot be a file's name.
            Conflict: another model has it.
        """
        _check_name(name)
        with self._database.reading() as connection:
            _require_free(connection, name, model)

    def trigger_words(self, *, but: str = "") -> set[str]:
        """The trigger words of all models but the one with this id, casefolded."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT trigger_word FROM models WHERE id != ?", [but])
            return {row[0].casefold() for row in rows if row[0]}

    def _record(self, model: Model) -> None:
        """Write down what a library that is made again needs; not worth failing for."""
        with contextlib.suppress(OSError):
            files.write_text(self.home(model.id) / RECORD, json_text.dumps(vars(model), indent=1))


def record_version(database: Database, job: Job) -> Version | None:
    """The version that a training of a model came to, recorded now unless it is already.

    None where the job is no training, has not come to a LoRA, or works for no model that is still there.
    """
    columns = version_columns(job)
    if columns is None:
        return None
    with database.writing() as connection:
        return insert_version(connection, job, columns)


def record_missing_versions(database: Database) -> None:
    """Record the versions of all trainings that are done, of models that are there."""
    with database.reading() as connection:
        rows = connection.execute(
            f"SELECT * FROM jobs WHERE kind IN {TRAINING + MAKING} AND state = 'done' AND model IS NOT NULL "
            "ORDER BY created"
        ).fetchall()
    for row in rows:
        record_version(database, Job.of(row))


def version_columns(job: Job) -> dict[str, Any] | None:
    """What the table keeps of the LoRA that ``job`` came to, its file read; None where it came to none.

    To be called before the transaction that :func:`insert_version` is part of: a large file takes its time.
    """
    lora = job.result.get("lora")
    if job.kind not in TRAINING + MAKING or job.state != "done" or job.model is None or not lora:
        return None
    # Beside the file that lies where LoRAs are used, the run's own stays in its folder.
    own = Path(job.result.get("file") or Path(job.output_dir) / Path(lora).name)
    file = own if own.is_file() else Path(lora)
    facts = {key: job.result.get(key) for key in _FACTS}
    if job.kind in MAKING:
        facts = {key: value for key, value in job.result.items() if key not in ("lora", "init_lora")}
    facts |= {"size": _size(file), "config": job.config.get("train", job.config)}
    if job.kind == "update":
        facts |= {"refused": job.result.get("refused", not job.result["published"]), "held_out": job.result["held_out"]}
    return {
        "id": secrets.token_hex(6), "model": job.model, "job": job.id, "file": str(file), "sha256": _digest(file),
        "published": "" if file == Path(lora) else str(lora), "facts": json_text.dumps(facts), "created": _now(),
        "origin": job.kind if job.kind in MAKING else "training",
    }  # fmt: skip


def insert_version(connection: sqlite3.Connection, job: Job, columns: dict[str, Any]) -> Version | None:
    """Record a version unless there is one of this job; None where its model is not there any more."""
    if connection.execute("SELECT 1 FROM models WHERE id = ?", [job.model]).fetchone() is None:
        return None
    if connection.execute("SELECT 1 FROM versions WHERE job = ?", [job.id]).fetchone() is None:
        insert_row(connection, {**columns, "parent": _parent(connection, job)})
        if columns["published"] and job.model is not None:
            publications.record(connection, job.model, columns["id"], columns["file"], columns["published"])
    return Version.of(connection.execute("SELECT * FROM versions WHERE job = ?", [job.id]).fetchone())


def insert_row(connection: sqlite3.Connection, columns: dict[str, Any]) -> None:
    """Add a row to the versions of its model, with the next number."""
    highest = "SELECT COALESCE(MAX(number), 0) FROM versions WHERE model = ?"
    number = connection.execute(highest, [columns["model"]]).fetchone()[0] + 1
    values = {**columns, "number": number}
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO versions ({', '.join(values)}) VALUES ({marks})", list(values.values()))
    connection.execute("UPDATE models SET changed = ? WHERE id = ?", [_now(), columns["model"]])


def from_folders(database: Database) -> None:
    """Fill a library that is made again with the models whose records are in their folders."""
    with database.writing() as connection:
        for path in sorted((database.folder / FOLDER).glob(f"*/{RECORD}")):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                row = {"id": path.parent.name, "changed": _now()}
                row |= {key: values[key] for key in ("name", "kind", "trigger_word", "folder", "created")}
                row |= {key: json_text.dumps(values.get(key, empty)) for key, empty in (("config", {}), ("tags", []))}
                row["retired"] = values.get("retired")
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO models ({', '.join(row)}) VALUES ({marks})", list(row.values()))
            except (OSError, ValueError, LookupError, TypeError, sqlite3.IntegrityError):
                # One record that cannot be used must not cost the others.
                continue


def _parent(connection: sqlite3.Connection, job: Job) -> str | None:
    """The version that the training started from."""
    start = job.result.get("init_lora") or job.config.get("init_lora")
    row = connection.execute(
        "SELECT id FROM versions WHERE model = ? AND ? IN (file, published) ORDER BY number DESC", [job.model, start]
    ).fetchone()
    return str(row[0]) if row is not None and start else None


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _state(connection: sqlite3.Connection, model: str) -> State:
    """By the training that runs, else the one that waits, else the one that ended last (unless it was cancelled)."""
    row = connection.execute(
        f"""
        SELECT * FROM jobs WHERE model = ? AND kind IN {TRAINING} AND state != 'cancelled' ORDER BY
        CASE WHEN state IN {OWNED} THEN 0 WHEN state = 'queued' THEN 1 ELSE 2 END,
        (SELECT MAX(seq) FROM changes WHERE changes.job = jobs.id) DESC LIMIT 1
        """,
        [model],
    ).fetchone()
    newest = connection.execute("SELECT * FROM versions WHERE model = ? ORDER BY number DESC LIMIT 1", [model])
    version = next((Version.of(one) for one in newest), None)
    count = connection.execute("SELECT COUNT(*) FROM versions WHERE model = ?", [model]).fetchone()[0]
    review = _review(connection, model)
    if row is None:
        return State("done" if version else "draft", versions=count, newest=version, review=review)
    job = Job.of(row)
    if job.state in OWNED:
        return State("training", _share(job), "", job.id, count, version, review)
    standing: Any = job.state
    return State(standing, None, job.reason if job.ended else "", job.id, count, version, review)


def _with_paths(value: Any, moves: Mapping[str, str]) -> Any:
    """``value``, ready for JSON, with the texts that are paths of ``moves`` replaced."""
    if isinstance(value, dict):
        return {key: _with_paths(one, moves) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_paths(one, moves) for one in value]
    return moves.get(value, value) if isinstance(value, str) else value


def _review(connection: sqlite3.Connection, model: str) -> str:
    """What people have last said of the newest version: ``none``, ``requested``, ``approved`` or ``rejected``."""
    row = connection.execute(
        """
        SELECT verdict FROM reviews WHERE verdict != 'comment' AND version =
        (SELECT id FROM versions WHERE model = ? ORDER BY number DESC LIMIT 1) ORDER BY rowid DESC LIMIT 1
        """,
        [model],
    ).fetchone()
    return str(row[0]) if row is not None else "none"


def search_texts(connection: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> dict[str, str]:
    """What the search looks at, casefolded, by the id of the model."""
    texts = {
        row["id"]: [row["name"], row["trigger_word"], row["kind"], row["kind"].replace("_", " "),
                    *json.loads(row["tags"]), _base_model(json.loads(row["config"]))]
        for row in rows
    }  # fmt: skip
    for model, facts in connection.execute("SELECT model, facts FROM versions"):
        if model in texts:
            read = json.loads(facts)
            texts[model] += [str(read.get("base_model") or ""), _base_model(read.get("config") or {})]
    return {model: " ".join(found).casefold() for model, found in texts.items()}


def _base_model(config: dict[str, Any]) -> str:
    """The name of the base model in a config of a training."""
    path = config.get("base_model")
    return PurePath(path.replace("\\", "/")).name if isinstance(path, str) else ""


def _share(job: Job) -> float:
    steps = job.progress.get("steps")
    return min(1.0, job.progress.get("step", 0) / steps) if steps else 0.0


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as columns.

    Raises:
        UserError: a value cannot be used.
    """
    values = dict(fields)
    if "name" in fields:
        _check_name(fields["name"])
    if "kind" in fields and fields["kind"] not in KINDS:
        raise UserError(f"kind: {str(fields['kind'])[:40]!r} is none of {', '.join(KINDS)}.")
    if "trigger_word" in fields:
        values["trigger_word"] = _checked_trigger(fields["trigger_word"])
    if "folder" in fields and not file_name.is_text(fields["folder"]):
        raise UserError(f"folder: {fields['folder']!r} is no path; correct it.")
    if "tags" in fields:
        values["tags"] = json_text.dumps(checked_tags(fields["tags"]))
    if "config" in fields:
        values["config"] = text = json_text.dumps(fields["config"])
        if len(text) > _MOST_CONFIG:
            raise UserError(f"config: it has {len(text)} characters, at most {_MOST_CONFIG} are kept; shorten it.")
    return values


def _check_name(name: str) -> None:
    problem = file_name.problem(name)
    if problem:
        raise UserError(f"name: {config_check.shown(name)} cannot be a file's name on every system: {problem}.")


def _checked_trigger(word: str) -> str:
    """On one line, single spaces."""
    word = " ".join(word.split())
    if not file_name.is_text(word) or not word.isprintable():
        raise UserError("trigger_word: it holds characters that cannot be seen; type it again.")
    if len(word) > _LONGEST_TRIGGER:
        raise UserError(f"trigger_word: it has {len(word)} characters, at most {_LONGEST_TRIGGER} are taken.")
    return word


def checked_tags(tags: Sequence[str]) -> list[str]:
    """Each on one line with single spaces, once whatever its case.

    Raises:
        UserError: one cannot be used, or there are too many.
    """
    found: dict[str, str] = {}
    for tag in (" ".join(one.split()) for one in tags):
        if not tag or len(tag) > _LONGEST_TAG or not file_name.is_text(tag) or not tag.isprintable():
            raise UserError(
                f"tags: {config_check.shown(tag)} is no tag; write up to {_LONGEST_TAG} visible characters."
            )
        found.setdefault(tag.casefold(), tag)
    if len(found) > _MOST_TAGS:
        raise UserError(f"tags: there are {len(found)}, at most {_MOST_TAGS} are taken.")
    return list(found.values())


def _require_free(connection: sqlite3.Connection, name: str, model: str) -> None:
    """Refuse a name of another model; letters that file systems may take for the same count as the same."""
    wanted = file_name.alike(name)
    for row in connection.execute("SELECT id, name FROM models WHERE id != ?", [model]):
        if file_name.alike(row["name"]) == wanted:
            raise Conflict(f"name: there is a model called {row['name']!r} already; choose another name.")


def _require_idle(connection: sqlite3.Connection, model: Model, what_to_do: str) -> None:
    query = f"SELECT COUNT(*) FROM jobs WHERE model = ? AND state NOT IN {ENDED}"
    if count := connection.execute(query, [model.id]).fetchone()[0]:
        raise Conflict(f"{model.name}: {count} jobs of this model wait or run; {what_to_do}.")


def _get(connection: sqlite3.Connection, model: str) -> Model:
    row = connection.execute("SELECT * FROM models WHERE id = ?", [model]).fetchone()
    if row is None:
        raise NotFound(f"There is no model {model}; GET /models lists them all.")
    return Model.of(row)


def _cursor(cursor: str) -> tuple[float, str]:
    changed, _, last = cursor.partition(",")
    try:
        return float(changed), last
    except ValueError as error:
        raise UserError(f"cursor: {cursor[:40]!r} is none of this list; leave it out to begin at the start.") from error
