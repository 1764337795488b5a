"""Caption the images of a folder that have no caption yet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...captions.fields import TEMPLATE
from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read


@dataclass(frozen=True)
class CaptionOptions:
    """The keys of a captioning."""

    train_data_dir: str = option("", "Folder of the images.")
    metadata_path: str = option("", "File of captions; empty finds or makes metadata.csv in the folder.")
    caption_encoding: str = option("", "Encoding of caption files that are not UTF-8, UTF-16 or clearly Chinese GBK.")
    captioner: str = option("auto", "Captioner; auto takes blip where its model is on this machine, else names.")
    model: str = option("", "Folder or hub name of the captioner's model; empty takes the usual one.")
    device: str = option("auto", "Device: auto, cpu, cuda or mps.")
    words: str = option("", "File with words to choose from, for clip.")
    endpoint: str = option("", "URL of an OpenAI-compatible service, for endpoint; images are sent there only.")
    key_from: str = option("", "Environment variable that holds the key of the service.")
    template: str = option(TEMPLATE, "How the fields become a caption.")
    trigger_word: str = option("", "Word at the start of every caption.")
    overwrite: Literal["none", "ours", "all"] = option(
        "none", "none keeps every caption, ours replaces what a captioner wrote, all also what people wrote."
    )


class Caption(Kind):
    """``config`` has the keys of :class:`CaptionOptions`."""

    name = "caption"
    lane = "device"
    reads = ("train_data_dir", "metadata_path", "words", "model")
    writes = ("train_data_dir", "metadata_path")

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        from ...captioning.choose import NAMES
        from ...captions import fields
        from ...errors import UserError

        options = asdict(read(CaptionOptions, config, where, required=("train_data_dir",)))
        if options["captioner"] not in NAMES:
            raise UserError(f"{where}: captioner is {options['captioner']!r}, expected one of {', '.join(NAMES)}.")
        fields.check(options["template"])
        options["endpoint"] = (
            environment.endpoint(options["endpoint"], options["key_from"]) if options["endpoint"] else ""
        )
        options["model"] = environment.captioner_model(options["model"])
        options |= {key: absolute(options[key], environment) for key in ("train_data_dir", "metadata_path", "words")}
        return Plan(f"Caption {folder_name(options['train_data_dir'])}", options)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Caption; what is done is saved on every way out."""
        from ...captioning import choose
        from ...captioning.base import CaptionerOptions
        from ...captioning.label import label
        from ...captions.store import CaptionStore

        options = read(CaptionOptions, job.config, job.name)
        folder = Path(options.train_data_dir)
        metadata = Path(options.metadata_path) if options.metadata_path else None
        store = CaptionStore.open(folder, metadata, options.caption_encoding)
        captioner = choose.make(
            CaptionerOptions(
                captioner=options.captioner,
                model=options.model,
                device=options.device,
                words=Path(options.words) if options.words else None,
                endpoint=options.endpoint,
                key_from=options.key_from,
            )
        )
        try:
            done = label(
                folder,
                store,
                captioner,
                template=options.template,
                trigger=options.trigger_word,
                overwrite=options.overwrite,
                progress=execution.progress,
                check=lambda: stop_check(execution),
            )
        finally:
            captioner.close()
        skipped = [{"name": one.name, "reason": one.reason} for one in (*store.skipped, *done.skipped)]
        return Outcome(
            "done",
            "",
            {
                "captioner": captioner.name,
                "written": done.written,
                "kept": done.kept,
                "without_caption": len(store.without_caption),
                "skipped": skipped,
                "warnings": list(store.warnings),
            },
        )
