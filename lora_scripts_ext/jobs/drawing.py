"""Images drawn by the host's own sampler, with a LoRA at a strength; those that are there are not drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .. import config as configs
from .. import files
from ..contract import PreviewRequest, Session
from ..families.registry import by_name
from .environment import Environment

_KEY = "lora-trainer"


@dataclass(frozen=True)
class Cell:
    """One image to draw.

    Attributes:
        lora: the LoRA's file; None draws with the base model alone.
        request: what to draw, the LoRA's strength included; a side or CFG scale of 0 is the base model's usual one.
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
    for folder in {cell.path.parent for cell in cells}:
        # What a killed attempt was writing.
        files.sweep(folder)
    model = _stamp(Path(base_model))
    pending = [cell for cell in cells if not _is_drawn(cell, model)]
    progress(len(cells) - len(pending), len(cells), "images")
    if not pending:
        return
    with environment.host(stop).open(_config(base_model, pending[0])) as session:
        done = len(cells) - len(pending)
        for (lora, strength), group in groupby(pending, key=lambda cell: (cell.lora, cell.request.strength)):
            with _lora(session, lora, strength):
                for cell in group:
                    check()
                    _write(session, cell, model)
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


def _write(session: Session, cell: Cell, model: str) -> None:
    cell_as_drawn = replace(cell, request=_complete(cell.request, session))
    image = session.preview(cell_as_drawn.request, cell.lora if session.draws_from_file else None)
    info = PngInfo()
    info.add_text("parameters", _parameters(session, cell_as_drawn))
    info.add_text(_KEY, _fingerprint(cell, model))
    with files.replacing(cell.path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)


def _complete(request: PreviewRequest, session: Session) -> PreviewRequest:
    """The request with the base model's own sides and CFG scale where it has none."""
    side = session.model.resolution
    return replace(
        request,
        width=request.width or side,
        height=request.height or side,
        cfg_scale=request.cfg_scale or by_name(session.model.family).cfg_scale,
    )


def _parameters(session: Session, cell: Cell) -> str:
    from ..training.previews import parameters

    text = f"<lora:{cell.lora.stem}:{cell.request.strength:g}>" if cell.lora is not None else ""
    return parameters(cell.request, session.model, text)


def _fingerprint(cell: Cell, model: str) -> str:
    """What tells an image that is still to be drawn from one that is there: the request, and the files."""
    return repr((cell.request, _stamp(cell.lora) if cell.lora is not None else "", model))


def _stamp(file: Path) -> str:
    """Name, size and time of a file, which are the same on every machine that a job's files are sent to."""
    if not file.is_file():
        return file.name
    stat = file.stat()
    return f"{file.name} {stat.st_size} {stat.st_mtime:.3f}"


def _is_drawn(cell: Cell, model: str) -> bool:
    try:
        with Image.open(cell.path) as image:
            return bool(image.info.get(_KEY) == _fingerprint(cell, model))
    except OSError:
        return False
