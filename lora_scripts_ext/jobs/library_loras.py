"""The LoRAs that a catalogue's rules name, where jobs run: those of the library, and of the host's folder."""

from __future__ import annotations

from pathlib import Path

from ..catalogue.loras import Found, Loras
from ..catalogue.settings import Settings
from ..library.database import NAME, Database
from ..library.model import Version
from ..library.models import Models
from ..library.publications import Publications
from .environment import Environment


def loras(environment: Environment, settings: Settings) -> Loras:
    """Finds them for a catalogue with these settings."""
    own = environment.lora_dir()
    folders = [*([Path(settings.rules).parent] if settings.rules else []), *([own] if own else [])]
    return Loras(folders, lambda name: _of_library(environment.data_dir, name), environment.readable)


def _of_library(data_dir: Path, name: str) -> Found | None:
    """What is published of the model with this name, else the file of its newest version."""
    if not (data_dir / NAME).is_file():
        return None
    database = Database(data_dir)
    try:
        models = Models(database)
        model = next((one for one in models.page(search=name, limit=1000).models if one.name == name), None)
        if model is None:
            return None
        versions = models.versions(model.id)
        current = Publications(database).current([model.id]).get(model.id)
    finally:
        database.close()
    if current is not None and Path(current.path).is_file():
        number = next(one.number for one in versions if one.id == current.version)
        return Found(Path(current.path), model.name, number, model.trigger_word)
    newest = next((one for one in versions if _is_there(one)), None)
    return Found(Path(newest.file), model.name, newest.number, model.trigger_word) if newest else None


def _is_there(version: Version) -> bool:
    return Path(version.file).is_file()
