"""What a contact sheet shows: which checkpoints, and where the image of each cell lies. No torch is needed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..models.safetensors_file import read_header

#: of a training with more checkpoints so many are shown
FEW = 5
_UNFINISHED = re.compile(r"-(\d{6}|step\d{8})$")
_MOST_OF_A_NAME = 40


@dataclass(frozen=True)
class Checkpoint:
    """A LoRA file as the sheet names it.

    Attributes:
        step, epoch: when it was written; None where the file does not say.
        final: whether it is the finished file of its training.
        metadata: of the file; empty where it cannot be read.
    """

    file: Path
    step: int | None
    epoch: int | None
    final: bool
    metadata: dict[str, str]

    @property
    def order(self) -> tuple[int, bool, float]:
        """By which the checkpoints of a training are in the order of their writing."""
        return self.step or 0, self.final, self.file.stat().st_mtime


@dataclass(frozen=True)
class Place:
    """A cell of the sheet, and the file of its image.

    Attributes:
        lora: None for the base model alone.
        index: of the prompt.
    """

    lora: Path | None
    strength: float
    index: int
    prompt: str
    path: Path


def checkpoint(file: Path) -> Checkpoint:
    """The checkpoint in a file; what is no LoRA is found out when it is drawn with."""
    try:
        metadata = read_header(file).metadata
    except UserError:
        metadata = {}
    step, epoch = (_number(metadata.get(key)) for key in ("ss_steps", "ss_epoch"))
    return Checkpoint(file, step, epoch, _UNFINISHED.search(file.stem) is None, metadata)


def found(paths: Sequence[str], most: int = 0, suggested: str = "") -> list[Checkpoint]:
    """The checkpoints at these paths: files as they are named, those of a folder in the order of their training.

    Args:
        paths: files, or folders of a training.
        most: of each folder at most so many; 0 for all.
        suggested: name of a file that is always among them.

    Raises:
        UserError: there is none.
    """
    checkpoints: list[Checkpoint] = []
    for path in map(Path, paths):
        if not path.is_dir():
            files = [path] if path.is_file() else []
        else:
            files = [file for file in path.glob("*.safetensors") if not file.name.startswith(".")]
        if not files:
            raise UserError(
                f"loras: there is no LoRA at {path}; name a .safetensors file, or the folder of a training."
            )
        own = sorted(map(checkpoint, files), key=lambda one: one.order)
        checkpoints += few(own, most, suggested) if path.is_dir() and most else own
    return checkpoints


def few(checkpoints: Sequence[Checkpoint], most: int = FEW, suggested: str = "") -> list[Checkpoint]:
    """At most ``most`` of a training's checkpoints, evenly spread: always the last, and the suggested one."""
    count = len(checkpoints)
    if count <= most:
        return list(checkpoints)
    chosen = {round((number + 1) * count / most) - 1 for number in range(most)}
    wanted = next((number for number, one in enumerate(checkpoints) if one.file.name == suggested), None)
    if wanted is not None and wanted not in chosen:
        others = chosen - {count - 1}
        if others:
            chosen.remove(min(others, key=lambda number: abs(number - wanted)))
        chosen.add(wanted)
    return [checkpoints[number] for number in sorted(chosen)]


def places(
    folder: Path,
    loras: Sequence[Path],
    strengths: Sequence[float],
    prompts: Sequence[str],
    settings: object,
    *,
    without_lora: bool = True,
) -> list[Place]:
    """The cells of a sheet whose images lie in ``folder``: those without LoRA, then those of each LoRA.

    The name of an image's file holds a hash of what it is drawn with, so that other prompts leave it alone.

    Args:
        folder: of the images.
        loras: the LoRA files.
        strengths: of each LoRA.
        prompts: one image each.
        settings: all else that an image depends on, as a value whose ``repr`` says it.
        without_lora: whether the base model's own images are among them.
    """
    rows = [(index, prompt) for index, prompt in enumerate(prompts)]
    base = [(None, 0.0)] if without_lora else []
    drawn_with = [*base, *((lora, strength) for lora in loras for strength in strengths)]
    return [
        Place(lora, strength, index, prompt, folder / _name(lora, strength, index, prompt, settings))
        for lora, strength in drawn_with
        for index, prompt in rows
    ]


def captions(one: Checkpoint) -> list[str]:
    """The parts of the captions that a LoRA was trained with, as its file has them; empty where it has none."""
    try:
        folders = json.loads(one.metadata.get("ss_tag_frequency", "{}"))
        return [part for parts in folders.values() for part in parts]
    except (ValueError, AttributeError, TypeError):
        return []


def trigger_word(one: Checkpoint) -> str:
    """The activation text on the card beside the file; that of a checkpoint is the card of its training's LoRA."""
    stem = _UNFINISHED.sub("", one.file.stem)
    for name in dict.fromkeys((one.file.stem, stem)):
        try:
            card = json.loads(one.file.with_name(f"{name}.json").read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue
        word = card.get("activation text") if isinstance(card, dict) else None
        if isinstance(word, str) and word.strip():
            return word.strip()
    return ""


def trained_size(one: Checkpoint) -> tuple[int, int]:
    """Width and height in pixels that a LoRA was trained at; zeros where its file does not say."""
    width, _, height = one.metadata.get("modelspec.resolution", "").partition("x")
    return _number(width) or 0, _number(height) or 0


def titles(checkpoints: Collection[Checkpoint]) -> dict[Path, str]:
    """What the sheet calls each file: its name, and where two have the same one, that of its folder, too."""
    stems = [one.file.stem for one in checkpoints]
    return {
        one.file: one.file.stem if stems.count(one.file.stem) == 1 else f"{one.file.parent.name}/{one.file.stem}"
        for one in checkpoints
    }


def _name(lora: Path | None, strength: float, index: int, prompt: str, settings: object) -> str:
    # Two versions of a model have the same name, in folders of their own.
    where = f"{lora.parent.name}/{lora.name}" if lora is not None else ""
    digest = hashlib.sha256(repr((where, index, prompt, settings)).encode("utf-8", "backslashreplace")).hexdigest()[:12]
    name = f"{lora.stem[:_MOST_OF_A_NAME]}-{strength:g}" if lora is not None else "without-lora"
    return f"{name}-{digest}.png"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None
