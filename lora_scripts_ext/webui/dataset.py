"""The part of the tab that makes a training set of a pile of pictures: captions, a report, what is left out."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import UserError
from ..images import excluded
from ..preparation import background
from ..preparation.check import bad, check
from ..preparation.prepare import Wanted
from ..preparation.report import Report
from ..preparation.training_set import ready
from ..preparation.upload import adopt
from . import captions, form, paths, thumbnails
from .folder_field import TASK, asked
from .messages import sentence
from .task import Stopped

_FOUND = 60
_CROPS = {
    "Around the subject": "smart",
    "Nothing is cut, white is added": "pad",
    "In the middle": "centre",
    "Only made smaller": "none",
}
_HELP = (
    "<p>Good pictures matter more than many. <b>Check the pictures</b> says which ones to leave out and why. "
    "<b>Caption the pictures</b> writes what they show into metadata.csv beside them; what you wrote yourself stays. "
    "Your picture files are never changed.</p>"
)


def drop() -> Any:
    """Where files may be dropped."""
    return gr.File(
        label="… or drop your pictures (or a zip of them) here", file_count="multiple", elem_id="lt_drop",
    )  # fmt: skip


def take(given: Any) -> Iterator[tuple[str, Any]]:
    """Copy what was dropped beside the runs; the form then names its folder."""
    dropped = [Path(getattr(one, "name", one)) for one in given or []]
    if not dropped:
        return
    into = paths.data_dir() / "pictures" / time.strftime("dropped-%Y%m%d-%H%M%S")
    try:
        for told in TASK.run(lambda progress, check: adopt(dropped, into, progress=progress, check=check)):
            if isinstance(told, str):
                yield sentence(told, "good"), gr.update()
                continue
            left = "".join(f" {one.name} {one.reason}." for one in told.skipped[:5])
            said = f"{len(told.names)} files are in {into}, which is named above now.{left}"
            yield sentence(said, "good"), gr.update(value=str(into)) if told.names else gr.update()
    except Stopped:
        yield sentence("Stopped.", "good"), gr.update()
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad"), gr.update()


def build() -> dict[str, Any]:
    """The components, by what they are for."""
    parts: dict[str, Any] = {}
    with gr.Accordion("Captions and quality", open=False, elem_id="lt_dataset"):
        gr.HTML(_HELP)
        with gr.Row():
            parts["check"] = gr.Button("Check the pictures", elem_id="lt_check")
            parts["leave"] = gr.Button("Leave out the bad ones", elem_id="lt_leave")
            parts["take"] = gr.Button("Take all again", elem_id="lt_take")
        with gr.Row():
            parts["crop"] = gr.Dropdown(
                list(_CROPS), value=next(iter(_CROPS)), label="Crop", elem_id="lt_crop_ready",
                info="How pictures are brought to the size that is trained at, as copies in a folder of their own.",
            )  # fmt: skip
            parts["rename"] = gr.Textbox(
                value="{name}", label="New names", elem_id="lt_rename", info="{name}, or numbered: brand_{number:03d}"
            )
        parts["plain"] = gr.Checkbox(
            value=False, label="Put the subject on white", elem_id="lt_plain", visible=background.available(),
            info="Removes the background with rembg.",
        )  # fmt: skip
        parts["ready"] = gr.Button("Make copies that are ready to train on", elem_id="lt_ready")
        parts |= captions.build()
    return parts


def wire(fields: dict[str, Any], parts: dict[str, Any]) -> None:
    """What the buttons do."""
    told = [fields[key] for key in form.KEYS]
    said = parts["said"]
    parts["check"].click(_check, told, [said])
    parts["leave"].click(_leave, told, [said])
    parts["take"].click(_take, told, [said])
    fill = fields["train_data_dir"]
    parts["ready"].click(_ready, [*told, parts["crop"], parts["rename"], parts["plain"]], [said, fill])
    captions.wire(fields, parts)


def _check(*values: Any) -> Iterator[str]:
    try:
        folder, metadata, resolution, trigger = asked(values)
        for told in TASK.run(lambda progress, stop: check(folder, metadata, resolution, trigger, progress, stop)):
            yield _findings(folder, told) if isinstance(told, Report) else sentence(told, "good")
    except Stopped:
        yield sentence("Stopped; what is looked at is remembered.", "good")
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad")


def _leave(*values: Any) -> Iterator[str]:
    """Check anew, which is quick the second time, and leave out what is bad."""
    try:
        folder, metadata, resolution, trigger = asked(values)
        for told in TASK.run(lambda progress, stop: check(folder, metadata, resolution, trigger, progress, stop)):
            if not isinstance(told, Report):
                yield sentence(told, "good")
                continue
            unwanted = bad(told)
            excluded.write(folder, unwanted | excluded.read(folder))
            yield sentence(f"{len(unwanted)} pictures are left out from now on; the files stay where they are.", "good")
    except Stopped:
        yield sentence("Stopped; nothing is left out.", "good")
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad")


def _take(*values: Any) -> str:
    try:
        folder = asked(values)[0]
        count = len(excluded.read(folder))
        excluded.write(folder, [])
    except (UserError, OSError) as error:
        return sentence(str(error), "bad")
    return sentence(f"All pictures are taken again ({count} had been left out).", "good")


def _ready(*values: Any) -> Iterator[tuple[str, Any]]:
    """Prepare copies beside the runs; the form then names their folder."""
    *told, crop, rename, plain = values
    try:
        source, _, resolution, _ = asked(tuple(told))
        out = paths.data_dir() / "pictures" / (source.stem if source.is_file() else source.name)
        wanted = Wanted(rename=rename.strip() or "{name}", crop=_CROPS[crop], without_background=bool(plain))
        for result in TASK.run(lambda progress, check: ready(source, out, resolution, wanted, progress, check)):
            if isinstance(result, str):
                yield sentence(result, "good"), gr.update()
                continue
            left = "".join(f" {one.name} {one.reason}." for one in result.skipped[:5])
            said = f"{len(result.made)} copies are in {out}, which is named above now.{left}"
            yield sentence(said, "good"), gr.update(value=str(out))
    except Stopped:
        yield sentence("Stopped; press the button again to go on.", "good"), gr.update()
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad"), gr.update()


def _findings(folder: Path, made: Report) -> str:
    """The report as a page: what is wrong, worst first, with the pictures; then advice."""
    counts = ", ".join(f"{made.count(grade)} {grade}" for grade in ("good", "doubtful", "bad"))
    told = made.settings
    suggested = f"Suggested: repeats {told.repeats}, epochs {told.epochs}, LoRA rank {told.rank}."
    said = sentence(f"{len(made.verdicts)} pictures: {counts}. {suggested}", "good")
    said += "".join(f"<p class='lt_advice'>{html.escape(text)}</p>" for text in made.advice)
    worst = [one for grade in ("bad", "doubtful") for one in made.verdicts if one.grade == grade]
    cells = []
    for one in worst[:_FOUND]:
        reasons = html.escape("; ".join(reason.text for reason in one.reasons))
        cells.append(
            f"<figure class='lt_{one.grade}_one'>{thumbnails.image(folder / one.name)}"
            f"<figcaption><b>{html.escape(one.name)}</b> {reasons}</figcaption></figure>"
        )
    more = f"<p>… and {len(worst) - _FOUND} more.</p>" if len(worst) > _FOUND else ""
    return said + f"<div class='lt_gallery lt_findings'>{''.join(cells)}</div>{more}"
