"""The part of the tab that makes a training set of a pile of images: captions, the report, excluded images."""

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
from ..preparation.prepare import Crop, PreparationOptions
from ..preparation.report import Report
from ..preparation.training_set import ready
from ..preparation.upload import import_files
from . import captions, form, paths, thumbnails
from .folder_field import TASK, read_fields
from .messages import sentence
from .task import Stopped

_MOST_FINDINGS = 60
_CROPS: dict[str, Crop] = {
    "Around the subject": "smart",
    "Nothing is cut, white is added": "pad",
    "In the middle": "centre",
    "Only made smaller": "none",
}
_HELP = (
    "<p>Good images matter more than many. <b>Check the images</b> shows which ones to exclude and why. "
    "<b>Caption the images</b> writes a caption for each into metadata.csv beside them; captions of your own stay. "
    "Your image files are never changed.</p>"
)


def drop() -> Any:
    """Where files may be dropped."""
    return gr.File(
        label="… or drop your images (or a zip of them) here", file_count="multiple", elem_id="lt_drop",
    )  # fmt: skip


def take(files: Any) -> Iterator[tuple[str, Any]]:
    """Copy what was dropped beside the runs; the form then names its folder."""
    dropped = [Path(getattr(one, "name", one)) for one in files or []]
    if not dropped:
        return
    into = paths.data_dir() / "pictures" / time.strftime("dropped-%Y%m%d-%H%M%S")
    try:
        for result in TASK.run(lambda progress, check: import_files(dropped, into, progress=progress, check=check)):
            if isinstance(result, str):
                yield sentence(result, "good"), gr.update()
                continue
            skipped = "".join(f" {one.name} {one.reason}." for one in result.skipped[:5])
            message = f"{len(result.names)} files are in {into}, which is now the folder above.{skipped}"
            yield sentence(message, "good"), gr.update(value=str(into)) if result.names else gr.update()
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
            parts["check"] = gr.Button("Check the images", elem_id="lt_check")
            parts["leave"] = gr.Button("Exclude the bad ones", elem_id="lt_leave")
            parts["take"] = gr.Button("Take all again", elem_id="lt_take")
        with gr.Row():
            parts["crop"] = gr.Dropdown(
                list(_CROPS), value=next(iter(_CROPS)), label="Crop", elem_id="lt_crop_ready",
                info="How images are resized for training, as copies in a folder of their own.",
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
    settings = [fields[key] for key in form.KEYS]
    message = parts["message"]
    parts["check"].click(_check, settings, [message])
    parts["leave"].click(_leave, settings, [message])
    parts["take"].click(_take, settings, [message])
    fill = fields["train_data_dir"]
    parts["ready"].click(_ready, [*settings, parts["crop"], parts["rename"], parts["plain"]], [message, fill])
    captions.wire(fields, parts)


def _check(*values: Any) -> Iterator[str]:
    try:
        folder, metadata, resolution, trigger = read_fields(values)
        for result in TASK.run(lambda progress, stop: check(folder, metadata, resolution, trigger, progress, stop)):
            yield _findings(folder, result) if isinstance(result, Report) else sentence(result, "good")
    except Stopped:
        yield sentence("Stopped; what is looked at is remembered.", "good")
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad")


def _leave(*values: Any) -> Iterator[str]:
    """Check again, which is quick the second time, and exclude what is bad."""
    try:
        folder, metadata, resolution, trigger = read_fields(values)
        for result in TASK.run(lambda progress, stop: check(folder, metadata, resolution, trigger, progress, stop)):
            if not isinstance(result, Report):
                yield sentence(result, "good")
                continue
            unwanted = bad(result)
            excluded.write(folder, unwanted | excluded.read(folder))
            yield sentence(f"{len(unwanted)} images are excluded from now on; the files stay where they are.", "good")
    except Stopped:
        yield sentence("Stopped; nothing is excluded.", "good")
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad")


def _take(*values: Any) -> str:
    try:
        folder = read_fields(values)[0]
        count = len(excluded.read(folder))
        excluded.write(folder, [])
    except (UserError, OSError) as error:
        return sentence(str(error), "bad")
    return sentence(f"All images are included again ({count} had been excluded).", "good")


def _ready(*values: Any) -> Iterator[tuple[str, Any]]:
    """Prepare copies beside the runs; the form then names their folder."""
    *settings, crop, rename, plain = values
    try:
        source, _, resolution, _ = read_fields(tuple(settings))
        out = paths.data_dir() / "pictures" / (source.stem if source.is_file() else source.name)
        options = PreparationOptions(
            rename=rename.strip() or "{name}", crop=_CROPS[crop], without_background=bool(plain)
        )
        for result in TASK.run(lambda progress, check: ready(source, out, resolution, options, progress, check)):
            if isinstance(result, str):
                yield sentence(result, "good"), gr.update()
                continue
            skipped = "".join(f" {one.name} {one.reason}." for one in result.skipped[:5])
            message = f"{len(result.copies)} copies are in {out}, which is now the folder above.{skipped}"
            yield sentence(message, "good"), gr.update(value=str(out))
    except Stopped:
        yield sentence("Stopped; press the button again to go on.", "good"), gr.update()
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad"), gr.update()


def _findings(folder: Path, report: Report) -> str:
    """The report as a page: what is wrong, worst first, with the images; then advice."""
    counts = ", ".join(f"{report.count(grade)} {grade}" for grade in ("good", "doubtful", "bad"))
    suggestion = report.settings
    suggested = f"Suggested: repeats {suggestion.repeats}, epochs {suggestion.epochs}, LoRA rank {suggestion.rank}."
    message = sentence(f"{len(report.verdicts)} images: {counts}. {suggested}", "good")
    message += "".join(f"<p class='lt_advice'>{html.escape(text)}</p>" for text in report.advice)
    worst = [one for grade in ("bad", "doubtful") for one in report.verdicts if one.grade == grade]
    cells = []
    for one in worst[:_MOST_FINDINGS]:
        reasons = html.escape("; ".join(reason.text for reason in one.reasons))
        cells.append(
            f"<figure class='lt_{one.grade}_one'>{thumbnails.image(folder / one.name)}"
            f"<figcaption><b>{html.escape(one.name)}</b> {reasons}</figcaption></figure>"
        )
    more = f"<p>… and {len(worst) - _MOST_FINDINGS} more.</p>" if len(worst) > _MOST_FINDINGS else ""
    return message + f"<div class='lt_gallery lt_findings'>{''.join(cells)}</div>{more}"
