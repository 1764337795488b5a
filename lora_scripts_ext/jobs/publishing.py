"""A version's checkpoint put where LoRAs are used, as a person has chosen it, and what was there before put back."""

from __future__ import annotations

import contextlib
import filecmp
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..adapters import card
from ..adapters.title import set_title
from ..errors import Conflict, NotFound, Refused
from ..library.database import Database
from ..library.model import Model, Version
from ..library.models import FOLDER, RUNS, Models
from ..library.publications import Publication, Publications
from ..library.reviews import Reviews
from ..training import lock, publication
from .drafts import require_in_use
from .environment import Environment
from .settings import REQUIRE_APPROVAL, LibrarySettings

#: in a model's folder: where its LoRAs are published if the host has no folder for them
PUBLISHED = "published"
#: in a model's folder: what lay there before each publication
KEPT = "publications"
#: why a training that is done has published nothing
WITHHELD = "It is not published, as the settings let only approved ones be; approve it, then publish it."
#: the same of a training that belongs to no model
WITHHELD_ALONE = (
    "It is not published, as the settings let only approved versions of models be; it is in its own folder."
)
# Among the model's runs, so that they know what was published from it.
_STAGING = "publishing"
_SUFFIXES = (".json", ".png", ".safetensors")
_MOST_KEPT = 5
_NOTHING, _AS = "nothing", "lora"
_IMPORTED = "imported"


@dataclass(frozen=True)
class Choice:
    """What is to be published.

    Attributes:
        checkpoint: a file of the version.
        strength: the preferred weight on the card.
        preview: image for the card; None leaves that of the training.
        who: whose choice it is; empty where that is not known.
        replace: whether a file of that name which is not ours may be put aside.
    """

    checkpoint: Path
    strength: float
    preview: Path | None = None
    who: str = ""
    replace: bool = False


def approval_is_required(data_dir: Path) -> bool:
    """Whether only what someone has approved may be published."""
    database = Database(data_dir)
    try:
        return bool(LibrarySettings(database).get(REQUIRE_APPROVAL))
    finally:
        database.close()


def checkpoints(version: Version) -> list[Path]:
    """The files of a version that are there, in the order of its training: the finished one is the last."""
    paths = [*map(Path, version.facts.get("checkpoints") or []), Path(version.file)]
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def checkpoint(version: Version, wanted: str) -> Path:
    """The file of a version by its path or its name; without either the finished one.

    Raises:
        NotFound: there is none.
    """
    for path in reversed(checkpoints(version)):
        if wanted in (str(path), path.name, "") and (wanted or path == Path(version.file)):
            return path
    name = Path(wanted or version.file).name
    raise NotFound(f"checkpoint: version {version.number} has no file {name[:200]!r}; look at its list of checkpoints.")


def folder_of(environment: Environment, models: Models, model: Model) -> Path:
    """Where the LoRAs of a model are published."""
    return environment.lora_dir() or models.home(model.id) / PUBLISHED


def publish(
    database: Database, environment: Environment, model: Model, version: Version, choice: Choice
) -> Publication:
    """Copy the chosen checkpoint, under the model's name, with its card and preview to where LoRAs are used.

    What lies there is kept for :func:`roll_back`.

    Raises:
        Refused: approval is required, and missing.
        Conflict: there is a file of that name which is not ours.
        UserError: a file cannot be used.
    """
    require_in_use(model)
    _require_approval(database, version, choice.checkpoint, choice.strength)
    models, publications = Models(database), Publications(database)
    home, folder = models.home(model.id), folder_of(environment, models, model)
    target = folder / f"{model.name}.safetensors"
    with lock.locked(home / KEPT), _staged(home, target.name, model, choice, version) as staged:
        if target.is_file() and filecmp.cmp(staged, target, shallow=False):
            # Such as one that was imported from there.
            publication.remember(staged.parent, staged)
        _require_ours(target, home, choice.replace)
        seq = publications.begin(model.id, version.id, str(choice.checkpoint), choice.strength, choice.who)
        try:
            keep(home, str(seq), target)
            _keep_imported(publications, home, version, target)
            publication.publish(staged, folder, lambda text: None)
            card.prefer(target, choice.strength)
        except BaseException:
            publications.give_up(seq)
            raise
        published = publications.finish(seq, str(target))
        _prune(home)
    environment.relist(target)
    return published


def roll_back(
    database: Database, environment: Environment, model: Model, *, replace: bool = False
) -> tuple[Publication, Publication | None]:
    """Put back what lay where the model's LoRA was published last, byte for byte: file, card and preview.

    Returns:
        What was taken back, and the publication that counts again.

    Raises:
        Conflict: nothing is published, what was there before is not kept, or the file there now is not ours.
        Refused: approval is required, and what was there before has none.
    """
    require_in_use(model)
    models, publications = Models(database), Publications(database)
    home = models.home(model.id)
    with lock.locked(home / KEPT):
        listed = [one for one in publications.all(model.id) if one.withdrawn is None]
        if not listed:
            raise Conflict(f"{model.name}: nothing of it is published; publish a version first.")
        current, before = listed[0], listed[1] if listed[1:] else None
        versions = {one.id: one for one in models.versions(model.id)}
        if before is not None:
            _require_approval(database, versions[before.version], Path(before.file), before.strength or 1.0)
        kept = _kept(home, current, versions[current.version])
        if kept is None:
            raise Conflict(
                f"{model.name}: what was there before is not kept any more; publish the version that you want instead."
            )
        target = Path(current.path)
        _require_ours(target, home, replace)
        # What people have changed on the card since is not thrown away.
        keep(home, f"{current.seq}-taken-back", target, suffixes=_SUFFIXES[:2])
        if not _is_ours(target, home):
            publication.put_aside(*(target.with_suffix(suffix) for suffix in _SUFFIXES))
        _restore(kept, target)
        publications.withdraw(current, publication.sha256(target) if target.is_file() else "")
    environment.relist(target)
    return current, before


def keep(home: Path, name: str, target: Path, *, suffixes: tuple[str, ...] = _SUFFIXES) -> None:
    """Copy what lies at ``target`` now, with its card and its preview, into the model's folder ``home``.

    Args:
        home: the model's folder.
        name: by which it is found again.
        target: the LoRA's file.
        suffixes: of the files that are copied.
    """
    with files.replacing_folder(home / KEPT / name) as temporary:
        for suffix in suffixes:
            path = target.with_suffix(suffix)
            if path.is_file():
                # Not by its name: the model may be renamed.
                shutil.copyfile(path, temporary / f"{_AS}{suffix}")
        (temporary / _NOTHING).write_bytes(b"")


def keep_before(environment: Environment, model: str, job: str, name: str) -> None:
    """Keep what a training of a model is about to replace, to be found again by the job's id.

    Args:
        environment: where the job runs.
        model: its id.
        job: the training's id.
        name: of the LoRA's file, without its suffix.
    """
    home = environment.data_dir.absolute() / FOLDER / model
    keep(home, f"job-{job}", (environment.lora_dir() or home / PUBLISHED) / f"{name}.safetensors")
    _prune(home)


def _kept(home: Path, current: Publication, version: Version) -> Path | None:
    """The folder with what lay there before a publication; None where it is not kept."""
    for name in (str(current.seq), f"job-{version.job}"):
        if (home / KEPT / name / _NOTHING).exists():
            return home / KEPT / name
    return None


def _restore(kept: Path, target: Path) -> None:
    # The LoRA comes last, as it does when it is published.
    for suffix in _SUFFIXES:
        path, copy = target.with_suffix(suffix), kept / f"{_AS}{suffix}"
        if copy.is_file():
            files.copy(copy, path)
        else:
            path.unlink(missing_ok=True)


def _keep_imported(publications: Publications, home: Path, version: Version, target: Path) -> None:
    """The own file of an imported version is where LoRAs are used: it gets a copy before another version takes its
    place."""
    if version.file != str(target) and target.is_file():
        copy = home / _IMPORTED / f"{publication.sha256(target)[:12]}.safetensors"
        if publications.is_own_file(version.model, str(target)):
            files.copy(target, copy)
            publications.keep_file(version.model, str(target), str(copy))


def _prune(home: Path) -> None:
    """Keep the last few of what lay there before: each holds a whole LoRA."""
    folders = [path for path in (home / KEPT).iterdir() if (path / _NOTHING).exists()]
    for old in sorted(folders, key=lambda path: (path / _NOTHING).stat().st_mtime)[:-_MOST_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _staged(home: Path, name: str, model: Model, choice: Choice, version: Version) -> Iterator[Path]:
    """The checkpoint with its card and preview, named as they will be; only the record of what is published stays."""
    folder = home / RUNS / _STAGING
    folder.mkdir(parents=True, exist_ok=True)
    publication.inherit(folder)
    staged = folder / name
    try:
        files.copy(choice.checkpoint, staged)
        # Else the WebUI's card would insert the checkpoint's name.
        set_title(staged, model.name)
        finished = Path(version.file)
        card.stage(staged, finished, model.trigger_word, choice.strength)
        image = choice.preview or finished.with_suffix(".png")
        if image.is_file():
            card.write_preview(staged, image)
        yield staged
    finally:
        for suffix in _SUFFIXES:
            with contextlib.suppress(OSError):
                staged.with_suffix(suffix).unlink(missing_ok=True)


def _is_ours(target: Path, home: Path) -> bool:
    """Whether there is no file, or one that was published from the model."""
    folders = [path for path in (home / RUNS).iterdir() if path.is_dir()] if (home / RUNS).is_dir() else []
    return not target.is_file() or publication.is_known(target, folders)


def _require_ours(target: Path, home: Path, replace: bool) -> None:
    if not replace and not _is_ours(target, home):
        raise Conflict(
            f"{target} was not published from this model; send replace: true to put it aside as a .bak file, or rename "
            "the model."
        )


def _require_approval(database: Database, version: Version, file: Path, strength: float) -> None:
    if not LibrarySettings(database).get(REQUIRE_APPROVAL):
        return
    if not Reviews(database).approves(version.id, str(file), strength):
        raise Refused(
            f"Version {version.number}, {file.name} at {strength:g}, is not approved; the settings let only approved "
            "ones be published."
        )
