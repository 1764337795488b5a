"""The LoRA files that rules name, with what says later which ones they were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..adapters import card
from ..contract import WeightedLora
from ..errors import UserError
from ..models.weights import sha256

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Found:
    """A LoRA's file, and which version of which model that is: of one that the library does not know its name and 0.

    Attributes:
        trigger: the model's trigger word; empty where only the file's card may say it.
    """

    file: Path
    model: str
    version: int = 0
    trigger: str = ""


@dataclass(frozen=True)
class Lora:
    """A LoRA to draw with.

    Attributes:
        name: of its model in the library, else of its file.
        version: of its model; None where the library does not know it.
        sha256: of the file, hex.
    """

    file: Path
    name: str
    version: int | None
    sha256: str
    weight: float

    @property
    def weighted(self) -> WeightedLora:
        """For a request to draw."""
        return WeightedLora(self.file, self.weight)

    def to_dict(self) -> dict[str, Any]:
        """For a manifest: without its path, which is nobody else's business."""
        return {
            "name": self.name, "file": self.file.name, "version": self.version, "sha256": self.sha256,
            "weight": self.weight,
        }  # fmt: skip


class Loras:
    """Finds LoRAs. What a file's hash is, is computed once."""

    def __init__(
        self,
        folders: Sequence[Path],
        of_library: Callable[[str], Found | None] = lambda name: None,
        readable: Callable[[str], Path] = Path,
    ) -> None:
        """Where they are looked for.

        Args:
            folders: those whose files may be named without a path, the first ones first.
            of_library: the file that counts of a model with this name; None where there is no such model.
            readable: refuses, with a UserError, a path that may not be read.
        """
        self._folders = folders
        self._of_library = of_library
        self._readable = readable
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def find(self, wanted: Mapping[str, Any]) -> Lora:
        """The LoRA of a rule, which has a ``file`` or a ``name``, and a ``weight``.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        found = self._located(wanted)
        weight = float(wanted.get("weight", 1.0))
        return Lora(found.file, found.model, found.version or None, self._hash(found.file), weight)

    def file(self, wanted: Mapping[str, Any]) -> Path:
        """The file of that LoRA, which is not read.

        Raises:
            UserError: there is none, or it may not be read.
        """
        return self._located(wanted).file

    def trigger(self, wanted: Mapping[str, Any]) -> str:
        """The word that activates the LoRA of a rule; empty where it has none or is not there."""
        try:
            found = self._located(wanted)
        except UserError:
            return ""
        return found.trigger or card.activation_text(found.file).strip()

    def problem(self, wanted: Mapping[str, Any]) -> str:
        """Why the LoRA of a rule cannot be used, as a sentence; empty where it is there."""
        try:
            self._located(wanted)
        except UserError as error:
            return str(error)
        return ""

    def _located(self, wanted: Mapping[str, Any]) -> Found:
        if wanted.get("name"):
            return self._named(str(wanted["name"]))
        return self._of_file(str(wanted.get("file") or ""))

    def _named(self, name: str) -> Found:
        found = self._of_library(name) or self._in_folders(name)
        if found is None:
            if not self._folders:
                raise UserError(f"LoRA {name}: the library has no model of this name; name another.")
            raise UserError(
                f"LoRA {name}: the library has no model of this name, and {self._shown()} no such file; name another."
            )
        return found

    def _of_file(self, file: str) -> Found:
        path = Path(file.replace("\\", "/"))
        if not path.is_absolute():
            found = self._in_folders(file)
        else:
            path = self._readable(str(path))
            found = Found(path, path.stem) if path.is_file() else None
        if found is None:
            raise UserError(
                f"LoRA {file}: there is no such file, also not in {self._shown()}; put it there, or name another."
            )
        return found

    def _in_folders(self, name: str) -> Found | None:
        for folder in self._folders:
            for path in (folder / name, folder / f"{name}{_SUFFIX}"):
                if path.suffix == _SUFFIX and self._checked(path, folder).is_file():
                    return Found(path, path.stem)
        return None

    def _checked(self, path: Path, folder: Path) -> Path:
        """``path``, if it lies in ``folder``, whose files may be read, or may be read anyway."""
        return path if path.resolve().is_relative_to(folder.resolve()) else self._readable(str(path))

    def _shown(self) -> str:
        return ", ".join(map(str, self._folders)) or "no folder"

    def _hash(self, file: Path) -> str:
        try:
            status = file.stat()
            key = file, status.st_size, status.st_mtime_ns
            if key not in self._hashes:
                self._hashes[key] = sha256([file])
        except OSError as error:
            raise UserError(f"{file}: this LoRA cannot be read ({error.strerror}); check the file.") from error
        return self._hashes[key]
