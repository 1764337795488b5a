"""Images drawn by the host's own sampler, with a LoRA at a strength; those that are there are not drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .. import config as configs
from .. import files
from ..contract import PreviewRequest, Session
from .environment import Environment


@dataclass(frozen=True)
class Cell:
    """One image to draw.

    Attributes:
        lora: the LoRA's file; None draws with the base model alone.
        request: what to draw, the LoRA's strength included.
        path: the PNG to write; its text ``parameters`` says how it was made.
    """

    lora: Path | None
    request: PreviewRequest
    path: Path


def draw(
    cells: Sequence[Cell],
    base_model: str,
    environment: Environment,
    *,
    stop: Callable[[], None],
    progress: Callable[[int, int, str], None],
    check: Callable[[], None],
) -> None:
    """Write the images of the cells, those of one LoRA one after the other.

    ``stop`` is called when the user stops the host; ``check`` between two images: what it raises ends the work.

    Raises:
        UserError: the base model or a LoRA cannot be read, or they do not fit.
    """
    pending = [cell for cell in cells if not _is_drawn(cell)]
    progress(len(cells) - len(pending), len(cells), "images")
    if not pending:
        return
    with environment.host(stop).open(_config(base_model, pending[0])) as session:
        done = len(cells) - len(pending)
        for (lora, strength), group in groupby(pending, key=lambda cell: (cell.lora, cell.request.strength)):
            with _lora(session, lora, strength):
                for cell in group:
                    check()
                    _write(session, cell)
                    done += 1
                    progress(done, len(cells), "images")


def _config(base_model: str, cell: Cell) -> configs.Config:
    """The least that a host wants to know; nothing is trained."""
    folder = str(cell.path.parent)
    values = {"train_data_dir": f"{folder}/none", "base_model": base_model, "output_dir": folder}
    return configs.from_dict(values, "base_model")


def _lora(session: Session, lora: Path | None, strength: float) -> ExitStack:
    """The LoRA attached, where the session does not draw from the file itself."""
    from ..adapters.applied import applied

    stack = ExitStack()
    if lora is not None and not session.draws_from_file:
        stack.enter_context(applied(session, lora, strength))
    return stack


def _write(session: Session, cell: Cell) -> None:
    image = session.preview(cell.request, cell.lora if session.draws_from_file else None)
    info = PngInfo()
    info.add_text("parameters", _parameters(session, cell))
    info.add_text("lora-trainer", _fingerprint(cell))
    with files.replacing(cell.path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)


def _parameters(session: Session, cell: Cell) -> str:
    from ..training.previews import parameters

    text = f"<lora:{cell.lora.stem}:{cell.request.strength:g}>" if cell.lora is not None else ""
    return parameters(cell.request, session.model, text)


def _fingerprint(cell: Cell) -> str:
    """What tells an image that is still to be drawn from one that is there: the request, and the LoRA's file."""
    stat = cell.lora.stat() if cell.lora is not None else None
    return repr((cell.request, str(cell.lora), stat and (stat.st_size, stat.st_mtime_ns)))


def _is_drawn(cell: Cell) -> bool:
    try:
        with Image.open(cell.path) as image:
            return bool(image.info.get("lora-trainer") == _fingerprint(cell))
    except OSError:
        return False
