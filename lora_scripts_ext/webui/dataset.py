"""The part of the tab that makes a training set of a pile of pictures: captions, a report, what is left out."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from .. import config as configs
from ..captioning import choose
from ..captioning.base import Wanted as Captioning
from ..captioning.label import label
from ..dataset import left_out
from ..errors import UserError
from ..workshop import command
from ..workshop import table as captions
from ..workshop.adopt import adopt
from ..workshop.book import Book
from ..workshop.prepare import Wanted
from ..workshop.prepare_command import ready
from ..workshop.report import Report
from . import form, place
from .task import Stopped, Task

_Rows = list[list[str]]
_ROWS = 200
_TAGS = 40
_UNDO = 20
_FOUND = 60
_CROPS = {
    "Around the subject": "smart",
    "Nothing is cut, white is added": "pad",
    "In the middle": "centre",
    "Only made smaller": "none",
}
_OVERWRITE = {"Only where there is none": "none", "Replace what a captioner wrote": "ours", "Replace all": "all"}
_HELP = (
    "<p>Good pictures matter more than many. <b>Check the pictures</b> says which ones to leave out and why. "
    "<b>Caption the pictures</b> writes what they show into metadata.csv beside them; what you wrote yourself stays. "
    "Your picture files are never changed.</p>"
)
TASK = Task()


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
    into = place.data_dir() / "pictures" / time.strftime("dropped-%Y%m%d-%H%M%S")
    try:
        for told in TASK.run(lambda progress, check: adopt(dropped, into, progress=progress, check=check)):
            if isinstance(told, str):
                yield _sentence(told, "good"), gr.update()
                continue
            left = "".join(f" {one.name} {one.reason}." for one in told.skipped[:5])
            said = f"{len(told.names)} files are in {into}, which is named above now.{left}"
            yield _sentence(said, "good"), gr.update(value=str(into)) if told.names else gr.update()
    except Stopped:
        yield _sentence("Stopped.", "good"), gr.update()
    except (UserError, OSError) as error:
        yield _sentence(str(error), "bad"), gr.update()


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
        parts["ready"] = gr.Button("Make copies that are ready to train on", elem_id="lt_ready")
        with gr.Row(elem_id="lt_captioning"):
            parts["captioner"] = gr.Dropdown(
                list(choose.NAMES), value="auto", label="Captioner", elem_id="lt_captioner",
                info="Who looks at the pictures. auto: BLIP where it is on this machine, else the file names.",
            )  # fmt: skip
            parts["model"] = gr.Textbox(
                value="", label="Captioner's model", elem_id="lt_caption_model",
                info="A folder with the model, or its name on the hub if it is on this machine. Empty: the usual one.",
            )  # fmt: skip
            parts["overwrite"] = gr.Dropdown(
                list(_OVERWRITE), value=next(iter(_OVERWRITE)), label="Which captions", elem_id="lt_overwrite"
            )
        with gr.Row():
            parts["caption"] = gr.Button("Caption the pictures", elem_id="lt_caption")
            parts["halt"] = gr.Button("Stop", elem_id="lt_halt")
        parts["said"] = gr.HTML(elem_id="lt_dataset_said")
        with gr.Row():
            parts["filter"] = gr.Textbox(
                value="", label="Show captions that hold", elem_id="lt_filter",
                info="Words, tag:red for a whole tag, none for pictures without a caption. Empty: all.",
            )  # fmt: skip
            parts["show"] = gr.Button("Show captions", elem_id="lt_show")
        parts["table"] = gr.Dataframe(
            headers=list(captions.HEADERS), datatype="str", col_count=(len(captions.HEADERS), "fixed"), type="array",
            interactive=True, wrap=True, elem_id="lt_table",
        )  # fmt: skip
        with gr.Row():
            parts["find"] = gr.Textbox(value="", label="Find", elem_id="lt_find")
            parts["replace"] = gr.Textbox(value="", label="Replace with", elem_id="lt_replace")
            parts["exchange"] = gr.Button("Replace in all shown", elem_id="lt_exchange")
        with gr.Row():
            parts["tag"] = gr.Textbox(value="", label="Tag", elem_id="lt_tag")
            parts["add"] = gr.Button("Add to all shown", elem_id="lt_add")
            parts["remove"] = gr.Button("Remove from all shown", elem_id="lt_remove")
        with gr.Row():
            parts["undo"] = gr.Button("Undo", elem_id="lt_undo")
            parts["save"] = gr.Button("Save the table", elem_id="lt_save")
        parts["history"] = gr.State([])
    return parts


def wire(fields: dict[str, Any], parts: dict[str, Any]) -> None:
    """What the buttons do."""
    told = [fields[key] for key in form.KEYS]
    said, table = parts["said"], parts["table"]
    parts["check"].click(_check, told, [said])
    parts["leave"].click(_leave, told, [said])
    parts["take"].click(_take, told, [said])
    fill = fields["train_data_dir"]
    parts["ready"].click(_ready, [*told, parts["crop"], parts["rename"]], [said, fill])
    parts["caption"].click(_caption, [*told, parts["captioner"], parts["model"], parts["overwrite"]], [said])
    parts["halt"].click(TASK.stop, [], [], queue=False)
    history = parts["history"]
    parts["show"].click(_show, [*told, parts["filter"]], [table, history, said])
    changes = {"exchange": _exchange, "add": _add, "remove": _remove}
    typed = {"exchange": [parts["find"], parts["replace"]], "add": [parts["tag"]], "remove": [parts["tag"]]}
    for name, change in changes.items():
        parts[name].click(change, [table, history, *typed[name]], [table, history, said])
    parts["undo"].click(_undo, [history], [table, history, said])
    parts["save"].click(_save, [*told, table], [said])


def _check(*values: Any) -> Iterator[str]:
    try:
        folder, metadata, resolution, trigger = _asked(values)
        for told in TASK.run(
            lambda progress, check: command.check(folder, metadata, resolution, trigger, progress, check)
        ):
            yield _findings(folder, told) if isinstance(told, Report) else _sentence(told, "good")
    except Stopped:
        yield _sentence("Stopped; what is looked at is remembered.", "good")
    except (UserError, OSError) as error:
        yield _sentence(str(error), "bad")


def _leave(*values: Any) -> Iterator[str]:
    """Check anew, which is quick the second time, and leave out what is bad."""
    try:
        folder, metadata, resolution, trigger = _asked(values)
        for told in TASK.run(
            lambda progress, check: command.check(folder, metadata, resolution, trigger, progress, check)
        ):
            if not isinstance(told, Report):
                yield _sentence(told, "good")
                continue
            unwanted = command.bad(told)
            left_out.write(folder, unwanted | left_out.read(folder))
            yield _sentence(
                f"{len(unwanted)} pictures are left out from now on; the files stay where they are.", "good"
            )
    except Stopped:
        yield _sentence("Stopped; nothing is left out.", "good")
    except (UserError, OSError) as error:
        yield _sentence(str(error), "bad")


def _take(*values: Any) -> str:
    try:
        folder = _asked(values)[0]
        count = len(left_out.read(folder))
        left_out.write(folder, [])
    except (UserError, OSError) as error:
        return _sentence(str(error), "bad")
    return _sentence(f"All pictures are taken again ({count} had been left out).", "good")


def _ready(*values: Any) -> Iterator[tuple[str, Any]]:
    """Prepare copies beside the runs; the form then names their folder."""
    *told, crop, rename = values
    try:
        source, _, resolution, _ = _asked(tuple(told))
        out = place.data_dir() / "pictures" / (source.stem if source.is_file() else source.name)
        wanted = Wanted(rename=rename.strip() or "{name}", crop=_CROPS[crop])
        for result in TASK.run(lambda progress, check: ready(source, out, resolution, wanted, progress, check)):
            if isinstance(result, str):
                yield _sentence(result, "good"), gr.update()
                continue
            left = "".join(f" {one.name} {one.reason}." for one in result.skipped[:5])
            said = f"{len(result.made)} copies are in {out}, which is named above now.{left}"
            yield _sentence(said, "good"), gr.update(value=str(out))
    except Stopped:
        yield _sentence("Stopped; press the button again to go on.", "good"), gr.update()
    except (UserError, OSError) as error:
        yield _sentence(str(error), "bad"), gr.update()


def _caption(*values: Any) -> Iterator[str]:
    *told, name, model, overwrite = values
    try:
        folder, metadata, _, _ = _asked(tuple(told))
        wanted = Captioning(captioner=name, model=str(place.readable(model)) if Path(model).is_dir() else model.strip())

        def work(progress: Any, check: Any) -> str:
            captioner = choose.make(wanted)
            try:
                book = Book.open(folder, metadata)
                done = label(folder, book, captioner, overwrite=_OVERWRITE[overwrite], progress=progress, check=check)
            finally:
                captioner.close()
            left = f" {len(done.skipped)} cannot be read." if done.skipped else ""
            return (
                f"{done.written} captions written by {captioner.name}, {done.kept} kept.{left} "
                "Press Show captions to read and correct them."
            )

        for text in TASK.run(work):
            yield _sentence(text, "good")
    except Stopped:
        yield _sentence("Stopped; the captions so far are saved. Press Caption the pictures to go on.", "good")
    except (UserError, OSError) as error:
        yield _sentence(str(error), "bad")


def _show(*values: Any) -> tuple[Any, Any, str]:
    *told, text = values
    try:
        folder, metadata, _, _ = _asked(tuple(told))
        every = captions.rows(Book.open(folder, metadata))
    except (UserError, OSError) as error:
        return gr.update(), gr.update(), _sentence(str(error), "bad")
    found = captions.holding(every, text)
    more = f" The first {_ROWS} are shown; narrow them down above." if len(found) > _ROWS else ""
    tags = ", ".join(f"{tag} ({count})" for tag, count in captions.frequency(found)[:_TAGS])
    said = f"{len(found)} of {len(every)} pictures.{more} Change them in the table, then press Save the table."
    answer = _sentence(said, "good") + (_sentence(f"Tags: {tags}.", "good") if tags else "")
    return [list(row) for row in found[:_ROWS]], [], answer


def _exchange(rows: _Rows, history: list[_Rows], find: str, replacement: str) -> tuple[Any, Any, str]:
    if not find:
        return gr.update(), gr.update(), _sentence("Find is empty; say what to replace.", "bad")
    return _changed(rows, history, captions.replaced(map(tuple, rows), find, replacement))


def _add(rows: _Rows, history: list[_Rows], tag: str) -> tuple[Any, Any, str]:
    if not tag.strip():
        return gr.update(), gr.update(), _sentence("Tag is empty; say which one to add.", "bad")
    return _changed(rows, history, captions.with_tag(map(tuple, rows), tag))


def _remove(rows: _Rows, history: list[_Rows], tag: str) -> tuple[Any, Any, str]:
    if not tag.strip():
        return gr.update(), gr.update(), _sentence("Tag is empty; say which one to remove.", "bad")
    return _changed(rows, history, captions.without_tag(map(tuple, rows), tag))


def _changed(rows: _Rows, history: list[_Rows], new: list[captions.Row]) -> tuple[Any, Any, str]:
    count = sum(tuple(before) != after for before, after in zip(rows, new, strict=True))
    said = f"{count} captions changed in the table; press Save the table to keep that, or Undo."
    return [list(row) for row in new], [*history, rows][-_UNDO:], _sentence(said, "good")


def _undo(history: list[_Rows]) -> tuple[Any, Any, str]:
    if not history:
        return gr.update(), gr.update(), _sentence("There is nothing to undo.", "good")
    return history[-1], history[:-1], _sentence("The table is as it was before.", "good")


def _save(*values: Any) -> str:
    *told, rows = values
    try:
        folder, metadata, _, _ = _asked(tuple(told))
        book = Book.open(folder, metadata)
        count = captions.save(book, map(tuple, rows))
        book.save()
    except (UserError, OSError) as error:
        return _sentence(str(error), "bad")
    return _sentence(f"{count} captions saved.", "good")


def _asked(values: tuple[Any, ...]) -> tuple[Path, Path | None, int, str]:
    """Folder, CSV, side in pixels and trigger word of the form.

    Raises:
        UserError: no folder is named, or it may not be read.
    """
    told = {key: form.from_field(key, value) for key, value in zip(form.KEYS, values, strict=True)}
    if not told["train_data_dir"]:
        raise UserError("Folder with your pictures is empty; name it above.")
    folder = place.readable(told["train_data_dir"])
    metadata = place.readable(told["metadata_path"]) if told["metadata_path"] else None
    return folder, metadata, min(told["resolution"] or [_stock_side(folder)]), told["trigger_word"]


def _stock_side(folder: Path) -> int:
    """The side that the loaded model was trained at."""
    asked = {"train_data_dir": str(folder), "base_model": "loaded", "output_dir": "unused"}
    try:
        return place.inspection(configs.from_dict(asked | {"base_model": place.require_checkpoint()})).resolution
    except UserError:
        return 512


def _findings(folder: Path, made: Report) -> str:
    """The report as a page: what is wrong, worst first, with the pictures; then advice."""
    counts = ", ".join(f"{made.count(grade)} {grade}" for grade in ("good", "doubtful", "bad"))
    told = made.settings
    suggested = f"Suggested: repeats {told.repeats}, epochs {told.epochs}, LoRA rank {told.rank}."
    said = _sentence(f"{len(made.verdicts)} pictures: {counts}. {suggested}", "good")
    said += "".join(f"<p class='lt_advice'>{html.escape(text)}</p>" for text in made.advice)
    worst = [one for grade in ("bad", "doubtful") for one in made.verdicts if one.grade == grade]
    cells = []
    for one in worst[:_FOUND]:
        address = f"lora-trainer/picture?path={quote(str(folder / one.name))}"
        reasons = html.escape("; ".join(reason.text for reason in one.reasons))
        cells.append(
            f"<figure class='lt_{one.grade}_one'><img loading='lazy' src='{address}' alt=''>"
            f"<figcaption><b>{html.escape(one.name)}</b> {reasons}</figcaption></figure>"
        )
    more = f"<p>… and {len(worst) - _FOUND} more.</p>" if len(worst) > _FOUND else ""
    return said + f"<div class='lt_gallery lt_findings'>{''.join(cells)}</div>{more}"


def _sentence(text: str, mood: str) -> str:
    return f"<p class='lt_{mood}'>{html.escape(text)}</p>"
