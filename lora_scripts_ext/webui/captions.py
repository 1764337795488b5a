"""The captions of the tab: who writes them and with what words, and the table in which they are corrected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from .. import files
from ..captioning import choose
from ..captioning.base import CaptionerOptions
from ..captioning.label import Overwrite, label
from ..captions import editing as captions
from ..captions.fields import TEMPLATE
from ..captions.store import CaptionStore
from ..errors import UserError
from . import form, paths
from .folder_field import TASK, read_fields
from .messages import sentence
from .task import Stopped

_Rows = list[list[str]]
_ROWS = 200
_TAGS = 40
_UNDO = 20
_WORDS = "words.txt"
_OVERWRITE: dict[str, Overwrite] = {
    "Only where there is none": "none",
    "Replace what a captioner wrote": "ours",
    "Replace all": "all",
}
#: which captioner needs which of the fields that are shown only for it
_NEEDED = {"words": "clip", "endpoint": "endpoint", "key_from": "endpoint"}


def build() -> dict[str, Any]:
    """The components, by what they are for."""
    return {**_captioner(), **_table()}


def _captioner() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Row(elem_id="lt_captioning"):
        parts["captioner"] = gr.Dropdown(
            list(choose.NAMES), value="auto", label="Captioner", elem_id="lt_captioner",
            info="The captioner. auto: BLIP where it is on this machine, else the file names.",
        )  # fmt: skip
        parts["model"] = gr.Textbox(
            value="", label="Captioner's model", elem_id="lt_caption_model",
            info="A folder with the model, or its name on the hub if it is on this machine. Empty: the usual one.",
        )  # fmt: skip
        parts["overwrite"] = gr.Dropdown(
            list(_OVERWRITE), value=next(iter(_OVERWRITE)), label="Which captions", elem_id="lt_overwrite"
        )
    parts["words"] = gr.Textbox(
        value=_kept_words, lines=8, label="Your own words", elem_id="lt_words", visible=False,
        info="One a line, under [subject], [attributes], [scene] and [style]: for each image those that fit it best "
        "are taken. They are kept for the next time.",
    )  # fmt: skip
    with gr.Row():
        parts["endpoint"] = gr.Textbox(
            value="", label="Address of the service", elem_id="lt_endpoint", visible=False,
            info="OpenAI-compatible, such as http://127.0.0.1:8000/v1. Your images are sent there and nowhere else.",
        )  # fmt: skip
        parts["key_from"] = gr.Textbox(
            value="", label="Where its key is", elem_id="lt_key_from", visible=False,
            info="The environment variable that holds the key. Empty: it needs none.",
        )  # fmt: skip
    parts["template"] = gr.Textbox(
        value=TEMPLATE, label="Order in a caption", elem_id="lt_template",
        info="How the fields become the caption; it may contain words of your own.",
    )  # fmt: skip
    with gr.Row():
        parts["caption"] = gr.Button("Caption the images", elem_id="lt_caption")
        parts["halt"] = gr.Button("Stop", elem_id="lt_halt")
    parts["message"] = gr.HTML(elem_id="lt_dataset_said")
    return parts


def _table() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Row():
        parts["filter"] = gr.Textbox(
            value="", label="Show captions that hold", elem_id="lt_filter",
            info="Words, tag:red for a whole tag, none for images without a caption. Empty: all.",
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
    settings = [fields[key] for key in form.KEYS]
    message, table, history = parts["message"], parts["table"], parts["history"]
    parts["captioner"].change(
        _needed, [parts["captioner"]], [parts[name] for name in _NEEDED], show_progress=False, queue=False
    )
    captioner_fields = ("captioner", "model", "words", "endpoint", "key_from", "template", "overwrite")
    parts["caption"].click(_caption, [*settings, *(parts[name] for name in captioner_fields)], [message])
    parts["halt"].click(TASK.stop, [], [], queue=False)
    parts["show"].click(_show, [*settings, parts["filter"]], [table, history, message])
    changes = {"exchange": _exchange, "add": _add, "remove": _remove}
    typed = {"exchange": [parts["find"], parts["replace"]], "add": [parts["tag"]], "remove": [parts["tag"]]}
    for name, change in changes.items():
        parts[name].click(change, [table, history, *typed[name]], [table, history, message])
    parts["undo"].click(_undo, [history], [table, history, message])
    parts["save"].click(_save, [*settings, parts["template"], table], [message])


def _needed(captioner: str) -> list[Any]:
    """Show the fields that the captioner needs, hide the others."""
    return [gr.update(visible=captioner == needs) for needs in _NEEDED.values()]


def _caption(*values: Any) -> Iterator[str]:
    *settings, captioner, model, words, endpoint, key_from, template, overwrite = values
    try:
        folder, metadata, _, _ = read_fields(tuple(settings))
        options = _captioner_options(captioner, model, words, endpoint, key_from)

        def work(progress: Any, check: Any) -> str:
            writer = choose.make(options)
            try:
                store = CaptionStore.open(folder, metadata)
                done = label(
                    folder, store, writer, template=template.strip() or TEMPLATE, overwrite=_OVERWRITE[overwrite],
                    progress=progress, check=check,
                )  # fmt: skip
            finally:
                writer.close()
            unreadable = f" {len(done.skipped)} cannot be read." if done.skipped else ""
            return (
                f"{done.written} captions written by {writer.name}, {done.kept} kept.{unreadable} "
                "Press Show captions to read and correct them."
            )

        for text in TASK.run(work):
            yield sentence(text, "good")
    except Stopped:
        yield sentence("Stopped; the captions so far are saved. Press Caption the images to go on.", "good")
    except (UserError, OSError) as error:
        yield sentence(str(error), "bad")


def _show(*values: Any) -> tuple[Any, Any, str]:
    *settings, text = values
    try:
        folder, metadata, _, _ = read_fields(tuple(settings))
        every = captions.rows(CaptionStore.open(folder, metadata))
    except (UserError, OSError) as error:
        return gr.update(), gr.update(), sentence(str(error), "bad")
    matching = captions.holding(every, text)
    more = f" The first {_ROWS} are shown; narrow them down above." if len(matching) > _ROWS else ""
    tags = ", ".join(f"{tag} ({count})" for tag, count in captions.frequency(matching)[:_TAGS])
    message = f"{len(matching)} of {len(every)} images.{more} Change them in the table, then press Save the table."
    html_text = sentence(message, "good") + (sentence(f"Tags: {tags}.", "good") if tags else "")
    return [list(row) for row in matching[:_ROWS]], [], html_text


def _exchange(rows: _Rows, history: list[_Rows], find: str, replacement: str) -> tuple[Any, Any, str]:
    if not find:
        return gr.update(), gr.update(), sentence("Find is empty; say what to replace.", "bad")
    return _changed(rows, history, captions.replaced(map(captions.Row._make, rows), find, replacement))


def _add(rows: _Rows, history: list[_Rows], tag: str) -> tuple[Any, Any, str]:
    if not tag.strip():
        return gr.update(), gr.update(), sentence("Tag is empty; say which one to add.", "bad")
    return _changed(rows, history, captions.with_tag(map(captions.Row._make, rows), tag))


def _remove(rows: _Rows, history: list[_Rows], tag: str) -> tuple[Any, Any, str]:
    if not tag.strip():
        return gr.update(), gr.update(), sentence("Tag is empty; say which one to remove.", "bad")
    return _changed(rows, history, captions.without_tag(map(captions.Row._make, rows), tag))


def _changed(rows: _Rows, history: list[_Rows], new: list[captions.Row]) -> tuple[Any, Any, str]:
    count = sum(tuple(before) != after for before, after in zip(rows, new, strict=True))
    message = f"{count} captions changed in the table; press Save the table to keep that, or Undo."
    return [list(row) for row in new], [*history, rows][-_UNDO:], sentence(message, "good")


def _undo(history: list[_Rows]) -> tuple[Any, Any, str]:
    if not history:
        return gr.update(), gr.update(), sentence("There is nothing to undo.", "good")
    return history[-1], history[:-1], sentence("The table is as it was before.", "good")


def _save(*values: Any) -> str:
    *settings, template, rows = values
    try:
        folder, metadata, _, _ = read_fields(tuple(settings))
        store = CaptionStore.open(folder, metadata)
        count = captions.save(store, map(captions.Row._make, rows), template.strip() or TEMPLATE)
        store.save()
    except (UserError, OSError) as error:
        return sentence(str(error), "bad")
    return sentence(f"{count} captions saved.", "good")


def _captioner_options(captioner: str, model: str, words: str, endpoint: str, key_from: str) -> CaptionerOptions:
    """What the page asks for; the words are kept for the next time.

    Raises:
        UserError: the model may not be read, or images may not be sent.
    """
    return CaptionerOptions(
        captioner=captioner,
        model=paths.captioner_model(model.strip()),
        words=_keep_words(words) if captioner == "clip" else None,
        endpoint=paths.service(endpoint.strip()) if captioner == "endpoint" else "",
        key_from=key_from.strip(),
    )


def _keep_words(text: str) -> Path | None:
    if not text.strip():
        return None
    path = paths.data_dir() / _WORDS
    files.write_text(path, text)
    return path


def _kept_words() -> str:
    """The words of the last time."""
    try:
        return (paths.data_dir() / _WORDS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
