"""The catalogues of a library: made, changed and drawn on behalf of users, each in a folder of the data folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from .. import files, json_text
from ..catalogue import checking, planning
from ..catalogue import settings as catalogue_settings
from ..catalogue.settings import CONTENTS, PATHS, Settings
from ..catalogue.store import FOLDER, NAME, Catalogue, Changes
from ..channels import channel as channels
from ..errors import Conflict, NotFound, Refused, UserError
from ..library.job import ENDED, OWNED, Job, NewJob
from ..library.models import TRASH
from ..library.queue import Queue
from ..preparation.archive import Unpacked
from ..products import data_file, glossary, mappings
from ..products import listing as listings
from ..products.columns import Columns
from ..products.listing import Listing
from ..products.mappings import Mappings
from ..products.product import located
from ..products.rules import Rules
from ..products.templates import Templates
from ..training import lock
from ..training.lock import locked
from . import catalogue_host, catalogue_photos
from .environment import Environment
from .kinds.catalogue import FINISHED
from .library_loras import loras
from .submit import submit

#: what prompts are made with that may be sent as a file
Words = Literal["templates", "glossary"]
_LIST = "list"
#: settings by which the list is read, and those by which products are planned
_OF_LIST = {"source", "columns", "photos_from"}
_OF_PLAN = {*CONTENTS, "language", "negative_prompt", "channels"}
_MOST_JOBS = 200
_MOST_ROWS = 50_000


class Catalogues:
    """Those of the library in ``environment.data_dir``. Methods may be called from any thread."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._folder = environment.data_dir / FOLDER
        self._mappings = Mappings(environment.data_dir / mappings.FOLDER)
        # Settings are read, changed and written: of two changes at once neither may be lost.
        self._changing = threading.RLock()

    def ids(self) -> list[str]:
        """Of all catalogues, in no order."""
        if not self._folder.is_dir():
            return []
        return [path.name for path in self._folder.iterdir() if (path / NAME).is_file()]

    def folder(self, id: str) -> Path:
        """Of a catalogue.

        Raises:
            NotFound: there is none with this id.
        """
        folder = self._folder / id
        if not id.isalnum() or not (folder / NAME).is_file():
            raise NotFound(f"There is no catalogue {id[:40]}; GET /catalogues lists them all.")
        return folder

    @contextmanager
    def opened(self, id: str) -> Iterator[Catalogue]:
        """A catalogue, let go of at the end.

        Raises:
            NotFound: there is none with this id.
        """
        catalogue = Catalogue.open(self.folder(id))
        try:
            yield catalogue
        finally:
            catalogue.close()

    def create(self, values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None = None) -> str:
        """A new one with the products of its source, or of ``rows``; returns its id.

        Raises:
            UserError: a setting, the list or a rule cannot be used; then nothing is there.
        """
        id = secrets.token_hex(6)
        folder = self._folder / id
        with files.temporary_folder(self._folder) as temporary, _named_plainly(temporary):
            # Tried first, so that a mistake leaves no half of a catalogue.
            settings = self._settings(Settings(), values, temporary)
            self._planner(settings, temporary)
            listing = self._listing(settings, rows)
        settings = self._settings(Settings(), values, folder)
        catalogue = Catalogue.create(folder, settings)
        try:
            if listing is not None:
                planning.take(catalogue, settings, listing, self._planner(settings, folder), self._mappings)
        finally:
            catalogue.close()
        return id

    def change(self, id: str, values: Mapping[str, Any]) -> None:
        """Change settings. What concerns prompts lets products be planned again, what concerns the list reads it again.

        Raises:
            NotFound: there is no such catalogue.
            UserError: a setting or a rule cannot be used; then nothing is changed.
        """
        with self._changing, self.opened(id) as catalogue:
            before, listing = catalogue.settings(), None
            with files.temporary_folder(self._folder) as temporary, _named_plainly(temporary):
                tried = self._settings(before, values, temporary)
                self._planner(tried, temporary)
                if values.keys() & _OF_LIST:
                    listing = self._with_photos(catalogue, tried)
            settings = self._settings(before, values, catalogue.folder)
            if listing is not None:
                planning.take(catalogue, settings, listing, self._planner(settings, catalogue.folder), self._mappings)
            elif values.keys() & _OF_PLAN:
                planning.plan_again(catalogue, settings, self._planner(settings, catalogue.folder))
            else:
                catalogue.write_settings(settings)

    def merge(self, id: str, rows: Sequence[Mapping[str, Any]], removed: Sequence[str]) -> Changes:
        """Take ``rows`` of products that are new or have changed, and leave out those whose SKUs are ``removed``; the
        others stay.

        Raises:
            NotFound: there is no such catalogue.
            UserError: the rows cannot be read.
        """
        with self._changing, self.opened(id) as catalogue:
            settings = catalogue.settings()
            known = planning.as_listing(catalogue)
            changed = replace(known, products=[], problems=[])
            if rows:
                # A row need not have all columns of the list.
                keys = {key for row in rows if isinstance(row, Mapping) for key in row}
                columns = {field: key for field, key in catalogue.read_as().items() if key in keys}
                changed = self._of_rows(rows, Columns.from_dict(columns), settings)
            whole = planning.merged(known, changed, set(removed))
            return planning.take(catalogue, settings, whole, self._planner(settings, catalogue.folder), self._mappings)

    def read(self, id: str, rows: Sequence[Mapping[str, Any]] | None = None, source: Path | None = None) -> Changes:
        """Take the list as it is now, ``rows`` in its place, or another file that lies in the catalogue's folder.

        Raises:
            NotFound: there is no such catalogue.
            UserError: the list cannot be read.
        """
        with self._changing, self.opened(id) as catalogue:
            settings = catalogue.settings()
            if rows is not None:
                settings = replace(settings, source="")
            elif source is not None:
                settings = replace(settings, source=str(source))
            listing = self._listing(settings, rows) if rows is not None else self._with_photos(catalogue, settings)
            if listing is None:
                raise UserError("source: the catalogue has no list; send one, or its rows.")
            return planning.take(
                catalogue, settings, listing, self._planner(settings, catalogue.folder), self._mappings
            )

    def take_list(self, id: str, file: Path) -> Changes:
        """Keep a list that was sent in the catalogue's folder, and take it.

        Raises:
            NotFound: there is no such catalogue.
            UserError: the list cannot be read; then the one before stays.
        """
        folder = self.folder(id) / _LIST
        with files.temporary_folder(folder) as temporary:
            tried = temporary / file.name
            files.copy(file, tried)
            with self.opened(id) as catalogue:
                self._listing(replace(catalogue.settings(), source=str(tried)), None)
        files.copy(file, folder / file.name)
        return self.read(id, source=folder / file.name)

    def take_photos(self, id: str, file: Path, name: str) -> Unpacked:
        """Keep a photo that was sent, or a zip of them, beside the list that was; they count once it is read again.

        Raises:
            NotFound: there is no such catalogue.
            Refused: its list lies elsewhere on the server.
            UserError: nothing in it can be taken.
        """
        folder = self.list_folder(id)
        with self.opened(id) as catalogue:
            source = catalogue.settings().source
        if source and folder not in (Path(source), Path(source).parent):
            raise Refused(
                "photos: the list of this catalogue lies on the server, where nothing is written; put its photos "
                "there, or send the list, too."
            )
        return catalogue_photos.take(file, name, folder)

    def list_folder(self, id: str) -> Path:
        """Where a list that is sent is kept with its photos.

        Raises:
            NotFound: there is no such catalogue.
        """
        return self.folder(id) / _LIST

    def take_words(self, id: str, kind: Words, file: Path) -> None:
        """Let templates or a glossary that were sent as a file count, in place of those before.

        Raises:
            NotFound: there is no such catalogue.
            UserError: the file cannot be used; then nothing is changed.
        """
        with _named_plainly(file.parent):
            data = {"terms": glossary.read(file)} if kind == "glossary" else data_file.read(file)
        self.change(id, {kind: data})

    def terms(self, id: str) -> dict[str, str]:
        """The catalogue's own glossary, without the one that ships.

        Raises:
            NotFound: there is no such catalogue.
            UserError: the file cannot be read any more, or an entry is wrong.
        """
        with self.opened(id) as catalogue:
            written = catalogue.settings().glossary
        return glossary.read(self._environment.readable(written)) if written else {}

    def templates(self, id: str) -> list[dict[str, Any]]:
        """The catalogue's own templates as they are written, without those that ship.

        Raises:
            NotFound: there is no such catalogue.
            UserError: the file cannot be read any more, or a template is wrong.
        """
        with self.opened(id) as catalogue:
            written = catalogue.settings().templates
        if not written:
            return []
        data = data_file.read(self._environment.readable(written))
        Templates.from_dict(data, written)
        found: list[dict[str, Any]] = data.get("templates") or []
        return found

    def rules(self, id: str) -> list[dict[str, Any]]:
        """The rules as they are written, with absolute paths: they can be handed in again.

        Raises:
            NotFound: there is no such catalogue.
            UserError: the file cannot be read any more, or a rule is wrong.
        """
        with self.opened(id) as catalogue:
            written, own = catalogue.settings().rules, catalogue.folder
        if not written:
            return []
        path = self._environment.readable(written)
        data = data_file.read(path)
        Rules.from_dict(data, str(path))
        found: list[dict[str, Any]] = data.get("rules") or []
        for rule in found if path.parent != own else ():
            for holder, key in ((rule, "control"), *((lora, "file") for lora in rule.get("loras") or [])):
                if holder.get(key):
                    holder[key] = located(holder[key], path.parent)
        return found

    def delete(self, id: str, queue: Queue) -> Path:
        """Forget a catalogue. What it has handed over stays; the rest is moved to the data folder's trash, whose new
        folder is returned.

        Raises:
            NotFound: there is no such catalogue.
            Conflict: a job of it has not ended.
            UserError: another process draws for it, or its files cannot be moved.
        """
        folder = self.folder(id)
        if job := _unended(queue, folder):
            raise Conflict(f"catalogue: job {job.id} of this catalogue has not ended; wait for it, or cancel it first.")
        aside = self._environment.data_dir / TRASH / f"{id}-{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            with locked(folder):
                # Without it there is no catalogue any more, whatever happens to the rest.
                files.move(folder / NAME, aside / NAME)
                for path in sorted(folder.iterdir()):
                    if path.name not in (FINISHED, lock.NAME) and not files.is_temporary(path.name):
                        files.move(path, aside / path.name)
        except OSError as error:
            raise UserError(
                f"{folder}: the catalogue cannot be moved to the trash ({error.strerror}); close what has its files "
                "open, and try again."
            ) from error
        # Not empty: it has handed something over.
        with contextlib.suppress(OSError):
            folder.rmdir()
        return aside

    def check(
        self, values: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] | None = None, id: str = ""
    ) -> dict[str, Any]:
        """What would come of a list with these settings; nothing is kept. With ``id`` the catalogue's count where
        ``values`` say nothing, and its products where there is no list.

        Raises:
            NotFound: there is no such catalogue.
            UserError: a setting, the list or a rule cannot be used.
        """
        if id:
            with self.opened(id) as catalogue:
                before = catalogue.settings()
                known = planning.as_listing(catalogue)
                folder = catalogue.folder
        else:
            before, known, folder = Settings(), None, None
        with files.temporary_folder(self._folder) as temporary, _named_plainly(temporary):
            settings = self._settings(before, values, temporary)
            planner = self._planner(settings, temporary, *([folder] if folder else []))
            given = rows is not None or bool(values.keys() & _OF_LIST)
            listing = self._listing(settings, rows) if given or known is None else known
        if listing is None:
            raise UserError("source: there is no list to try; name a file, or send rows.")
        return checking.check(planner, listing)

    def _settings(self, before: Settings, values: Mapping[str, Any], folder: Path) -> Settings:
        """The settings with these values; contents of files are written into ``folder``, and every path may be read.

        Raises:
            UserError: a value cannot be used.
        """
        complete = {**asdict(before), **values}
        for key in CONTENTS:
            if isinstance(complete[key], Mapping):
                path = folder / f"{key}.yaml"
                # JSON is YAML.
                files.write_text(path, json_text.dumps(complete[key], indent=1))
                complete[key] = str(path)
        settings = catalogue_settings.from_dict(complete, "settings")
        given = {key: getattr(settings, key) for key in PATHS if key in values and getattr(settings, key)}
        absolute: dict[str, Any] = {key: str(self._environment.readable(path)) for key, path in given.items()}
        own = {key: path for key, path in given.items() if Path(path).parent == folder}
        if "base_model" in values:
            absolute["base_model"] = (
                catalogue_host.base_model(self._environment, settings) if settings.base_model else ""
            )
        if settings.webui and values.keys() & {"webui", "webui_login"}:
            self._environment.endpoint(settings.webui, settings.webui_login)
        if "photos_from" in values:
            for beginning in settings.photos_from:
                self._environment.endpoint(beginning, "")
        if "channels" in values:
            absolute["channels"] = [self._channel(one) for one in settings.channels]
        return replace(settings, **{**absolute, **own})

    def _channel(self, name: str) -> str:
        """A channel that ships, or a file that may be read and is one.

        Raises:
            UserError: it is neither.
        """
        wanted = name if name in channels.names() else str(self._environment.readable(name))
        channels.load(wanted)
        return wanted

    def _planner(self, settings: Settings, *own: Path) -> planning.Planner:
        return planning.Planner(settings, loras(self._environment, settings), own)

    def _with_photos(self, catalogue: Catalogue, settings: Settings) -> Listing | None:
        """The list with these settings, where photos that were sent along with it are found by their names."""
        folder = catalogue.folder / _LIST
        if Path(settings.source).parent == folder:
            wanted: list[Path] = []

            def note(path: str) -> Path:
                wanted.append(self._environment.readable(path))
                return wanted[-1]

            planning.read(settings, note, self._mappings)
            catalogue_photos.place(folder, wanted)
        return self._listing(settings, None)

    def _listing(self, settings: Settings, rows: Sequence[Mapping[str, Any]] | None) -> Listing | None:
        if rows is not None:
            return self._of_rows(rows, Columns.from_dict(settings.columns), settings)
        return planning.read(settings, self._environment.readable, self._mappings) if settings.source else None

    def _of_rows(self, rows: Sequence[Mapping[str, Any]], columns: Columns, settings: Settings) -> Listing:
        if len(rows) > _MOST_ROWS:
            raise UserError(f"products: there are {len(rows)}, at most {_MOST_ROWS} are taken; split the list.")
        return listings.from_rows(
            rows, columns, readable=self._environment.readable, photos_from=settings.photos_from,
            mappings=self._mappings,
        )  # fmt: skip


@contextmanager
def _named_plainly(folder: Path) -> Iterator[None]:
    """Errors name files in ``folder``, where they lie for a moment only, without it."""
    try:
        yield
    except UserError as error:
        raise type(error)(str(error).replace(f"{folder}{os.sep}", "")) from error


def queue_drawing(queue: Queue, environment: Environment, catalogue: Catalogue, job: NewJob) -> Job:
    """The job that draws what waits: the one that has not ended, else a new one as ``job`` says.

    Raises:
        UserError: there is no base model.
    """
    running = newest(queue, catalogue, "catalogue")
    # One that stops may not look again.
    if running is not None and running.state not in (*ENDED, "stopping"):
        return running
    config = {**job.config, "catalogue": str(catalogue.folder)}
    return submit(queue, environment, [replace(job, config=config)])[0]


def _unended(queue: Queue, folder: Path) -> Job | None:
    """A job for the catalogue in ``folder`` that waits or runs; None where there is none."""
    cursor: str | None = ""
    while cursor is not None:
        page = queue.page(states=("queued", *OWNED), limit=_MOST_JOBS, cursor=cursor)
        for job in page.jobs:
            if job.config.get("catalogue") == str(folder):
                return job
        cursor = page.next
    return None


def newest(queue: Queue, catalogue: Catalogue, kind: str) -> Job | None:
    """The newest job of a kind for a catalogue; None where there was none."""
    folder = str(catalogue.folder)
    found = [one for one in queue.page(kind=kind, limit=_MOST_JOBS).jobs if one.config.get("catalogue") == folder]
    return max(found, key=lambda one: one.created, default=None)
