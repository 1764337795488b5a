"""The LoRA Trainer tab: images, a name, what is it, Start; the rest is filled in and folded away."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from .. import config as configs
from .. import presets
from ..dataset.example import Example
from ..errors import UserError
from ..jobs.estimate import estimate as estimate_run
from ..library.job import Job
from . import dataset, estimate_text, form, guard, paths, thumbnails
from .messages import sentence
from .service import service

_GALLERY = 60
_GUIDE = """<p id='lt_headline'>Nothing is being trained.</p><div class='lt_guide'><ol>
<li><b>Images.</b> Name the folder and press Show images: they appear with their captions, and a line says how long
the training will take.</li>
<li><b>Name.</b> Say what the LoRA is called and what it is; everything else is filled in for that.</li>
<li><b>Train.</b> Press Start. It is trained on the checkpoint chosen at the top of this page, and progress shows up
here; you may close the page meanwhile. Images requested in txt2img wait until it is done.</li>
</ol><p>Then write <code>&lt;lora:NAME:0.8&gt;</code> and the trigger word into a prompt.</p></div>"""
_FIRST = next(iter(presets.KINDS))


def build() -> list[tuple[gr.Blocks, str, str]]:
    """The tab as the WebUI's callback wants it."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        with gr.Row(elem_id="lt_page"):
            with gr.Column(scale=5, min_width=420):
                fields, kind, buttons, message, images = _left()
            with gr.Column(scale=6, min_width=420, elem_id="lt_side"):
                gr.HTML(f"<div id='lt_live' data-page='{guard.KEY}'>{_GUIDE}</div>")
        _wire(fields, kind, buttons, message, images)
    return [(blocks, "LoRA Trainer", "lora_trainer")]


def _left() -> tuple[dict[str, Any], Any, dict[str, Any], Any, Any]:
    fields: dict[str, Any] = {}
    buttons: dict[str, Any] = {}
    gr.Markdown("### 1 Images")
    filled = presets.values(_FIRST)
    fields["train_data_dir"] = form.field("train_data_dir", "")
    buttons["drop"] = dataset.drop()
    buttons["look"] = gr.Button("Show images", elem_id="lt_look")
    images = gr.HTML(elem_id="lt_pictures")
    buttons["dataset"] = dataset.build()
    gr.Markdown("### 2 Name")
    with gr.Row():
        fields["output_name"] = form.field("output_name", "")
        fields["trigger_word"] = form.field("trigger_word", "")
    kind = gr.Radio(
        list(presets.KINDS),
        value=_FIRST,
        label="What is it?",
        info="Fills in everything under Fine-tune with what suits it.",
        elem_id="lt_kind",
    )
    with gr.Accordion("Fine-tune", open=False):
        for heading, keys in form.FOLDED.items():
            with gr.Accordion(heading, open=False):
                for key in keys:
                    fields[key] = form.field(key, filled.get(key, configs.default(key)))
    with gr.Accordion("YAML", open=False):
        buttons["yaml"] = gr.Textbox(
            label="The settings as a file: train.py --config takes it", lines=12, elem_id="lt_yaml"
        )
        with gr.Row():
            buttons["export"] = gr.Button("Write it from the form", elem_id="lt_export")
            buttons["import"] = gr.Button("Fill the form from it", elem_id="lt_import")
    gr.Markdown("### 3 Train")
    with gr.Row():
        buttons["start"] = gr.Button("Start", variant="primary", elem_id="lt_start")
        buttons["stop"] = gr.Button("Stop and save", elem_id="lt_stop")
        buttons["resume"] = gr.Button("Resume", elem_id="lt_resume")
    message = gr.HTML(elem_id="lt_message")
    return fields, kind, buttons, message, images


def _wire(fields: dict[str, Any], kind: Any, buttons: dict[str, Any], message: Any, images: Any) -> None:
    everything = [fields[key] for key in form.KEYS]
    kind.change(_preset, [kind, *everything], everything, show_progress=False)
    buttons["look"].click(_look, everything, [images])
    fields["train_data_dir"].submit(_look, everything, [images])
    buttons["start"].click(_start, everything, [message])
    buttons["resume"].click(_resume, everything, [message])
    dataset.wire(fields, buttons["dataset"])
    buttons["drop"].upload(dataset.take, [buttons["drop"]], [images, fields["train_data_dir"]])
    buttons["stop"].click(_stop, [], [message], queue=False)
    buttons["export"].click(_export, everything, [buttons["yaml"], message])
    buttons["import"].click(_import, [buttons["yaml"]], [*everything, message])


def _preset(kind: str, *values: Any) -> list[Any]:
    """Fill in what *kind* needs; what the user typed on the page stays."""
    own_keys = ("train_data_dir", "output_name", "trigger_word", "metadata_path", "preview_prompts")
    typed = {key: form.from_field(key, value) for key, value in zip(form.KEYS, values, strict=True) if key in own_keys}
    return form.shown({**presets.values(kind), **typed})


def _look(*values: Any) -> str:
    """The images with their captions, and the estimate of a run with them."""
    try:
        config = form.config(values)
        estimate = estimate_run(config, paths.inspection(config))
    except UserError as error:
        return sentence(str(error), "bad")
    dataset = estimate.run.dataset
    text = estimate_text.sentence(estimate)
    if dataset.skipped:
        text += f" {len(dataset.skipped)} skipped: " + "; ".join(
            f"{one.name} ({one.reason})" for one in dataset.skipped[:5]
        )
    if estimate.run.memory_note:
        text += f" {estimate.run.memory_note}"
    cells = [_cell(example) for example in dataset.examples[:_GALLERY]]
    return (
        sentence(text, "good" if estimate.run.fit.fits else "bad") + f"<div class='lt_gallery'>{''.join(cells)}</div>"
    )


def _cell(example: Example) -> str:
    caption = html.escape(example.caption) or "<i>no caption</i>"
    return f"<figure>{thumbnails.image(example.path)}<figcaption>{caption}</figcaption></figure>"


def _start(*values: Any) -> str:
    try:
        job = service().train(form.config(values))
    except UserError as error:
        return sentence(str(error), "bad")
    model = Path(job.config["base_model"]).stem
    return sentence(f"{job.name} is queued, on {model}; you can close this page and come back.", "good")


def _resume(*values: Any) -> str:
    """Continue the run that the form names, else the last one that was stopped."""
    name = form.from_field("output_name", values[form.KEYS.index("output_name")]).strip()
    try:
        job = _resumed(name, values)
    except UserError as error:
        return sentence(str(error), "bad")
    return sentence(f"{job.name} continues with the settings it was started with.", "good")


def _resumed(name: str, values: tuple[Any, ...]) -> Job:
    if not name:
        return service().resume("")
    try:
        return service().resume(str(paths.run_dir(name).absolute()))
    except UserError:
        # Not a job of this library: a run of before, of which only the folder is left.
        return service().resume_folder(form.config(values))


def _stop() -> str:
    try:
        service().stop()
    except UserError as error:
        return sentence(str(error), "bad")
    return sentence("It stops after the step it is at, and saves; Resume goes on from there.", "good")


def _export(*values: Any) -> tuple[str, str]:
    try:
        return form.config(values).to_yaml(), ""
    except UserError as error:
        return "", sentence(str(error), "bad")


def _import(text: str) -> list[Any]:
    try:
        values, notes = configs.read_text(text, "YAML")
        for path in filter(None, map(values.get, form.PATHS)):
            paths.readable(str(path))
        settings = {"base_model": paths.loaded_checkpoint(), **values, "output_dir": str(paths.run_dir("my_lora"))}
        config = configs.from_dict(settings, "YAML", notes)
    except UserError as error:
        return [gr.update() for _ in form.KEYS] + [sentence(str(error), "bad")]
    text = " ".join(["The form holds the file's settings.", *config.notes])
    return [*form.shown(config.changed()), sentence(text, "good")]
