"""A finished LoRA copied to where the WebUI looks for it, without overwriting files of others."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import files
from ..adapters import card
from ..errors import UserError

_RECORD = "published.json"
_REMEMBERED = 100


def publish(lora: Path, folder: Path, warn: Callable[[str], None]) -> Path:
    """Copy ``lora``, its card and its preview into ``folder``, each whole or not at all; returns the file there.

    Whether a file of that name there is one of ours is known by the hashes that runs leave in ``published.json`` beside
    ``lora``. Another one is renamed to ``NAME.safetensors.TIME.bak``, with its card and its preview, and ``warn`` is
    called. What a user has filled in on our card stays, as does a preview image that a user has chosen.

    """
    published = folder / lora.name
    if published.resolve() == lora.resolve():
        return lora
    record = lora.parent / _RECORD
    known = _known(record)
    if published.exists() and sha256(published) not in known:
        backup = put_aside(published, published.with_suffix(".json"), published.with_suffix(".png"))[0]
        warn(
            f"{published} was not written by this run or one before it in {lora.parent}; it was renamed to "
            f"{backup.name}."
        )
    image, published_image = lora.with_suffix(".png"), published.with_suffix(".png")
    chosen = published_image.exists() and sha256(published_image) not in known
    # Before the files: a crash in between must not make ours look like another's.
    _remember(record, [*known, *(sha256(path) for path in (image, lora) if path.exists())])
    # The LoRA comes last: whoever sees it finds its card and image beside it.
    _copy_card(lora, folder, warn)
    if image.exists() and not chosen:
        files.copy(image, published_image)
    files.copy(lora, published)
    return published


def remember(run: Path, *published: Path) -> None:
    """Let the run in the folder ``run``, and those after it, replace these files: they have changed hands."""
    _remember(run / _RECORD, [*_known(run / _RECORD), *map(sha256, published)])


def is_known(file: Path, folders: Iterable[Path]) -> bool:
    """Whether a run in one of the folders has published the file as it is now."""
    hashes = {one for folder in folders for one in _known(folder / _RECORD)}
    return bool(hashes) and sha256(file) in hashes


def inherit(folder: Path) -> None:
    """Let a run in ``folder`` replace what the runs beside it have published: they are versions of one model."""
    hashes = [one for record in sorted(folder.parent.glob(f"*/{_RECORD}")) for one in _known(record)]
    if hashes:
        _remember(folder / _RECORD, hashes)


def _copy_card(lora: Path, folder: Path, warn: Callable[[str], None]) -> None:
    try:
        card.copy(lora, folder)
    except UserError as error:
        (backup,) = put_aside(folder / lora.with_suffix(".json").name)
        warn(f"{error} It was renamed to {backup.name}.")
        card.copy(lora, folder)


def put_aside(*paths: Path) -> list[Path]:
    """Rename those of the files that exist to ``NAME.TIME.bak``; returns their new paths."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    backups = {path: _free(path.with_name(f"{path.name}.{stamp}.bak")) for path in paths if path.exists()}
    for path, new in backups.items():
        files.move(path, new)
    return list(backups.values())


def _free(backup: Path) -> Path:
    """``backup``, or with a number where that exists."""
    others = (backup.with_name(f"{backup.stem}-{number}.bak") for number in itertools.count(2))
    return next(path for path in itertools.chain([backup], others) if not path.exists())


def _known(record: Path) -> list[str]:
    """SHA-256 (hex) of the files that runs in this folder have published, oldest first."""
    try:
        hashes = json.loads(record.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return [one for one in hashes if isinstance(one, str)] if isinstance(hashes, list) else []


def _remember(record: Path, hashes: list[str]) -> None:
    newest = list(dict.fromkeys(reversed(hashes)))[:_REMEMBERED]
    files.write_text(record, json.dumps({"sha256": newest[::-1]}, indent=1))


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
