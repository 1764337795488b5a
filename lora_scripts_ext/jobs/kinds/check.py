"""Check the images of a folder: a verdict for each, advice for the whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...images import excluded
from ...library.job import Job
from ..environment import Environment
from ..execution import Execution
from ..outcome import Outcome
from .kind import Kind, Plan, absolute, folder_name, stop_check
from .options import option, read

if TYPE_CHECKING:
    from ...captioning.logos import LogoDetector


@dataclass(frozen=True)
class CheckOptions:
    """The keys of a check."""

    train_data_dir: str = option("", "Folder of the images.")
    metadata_path: str = option("", "File of captions; empty finds metadata.csv in the folder.")
    caption_encoding: str = option("", "Encoding of caption files that are not UTF-8, UTF-16 or clearly Chinese GBK.")
    resolution: int = option(512, "Side in pixels that the base model was trained at.", low=64, high=16384)
    trigger_word: str = option("", "The trigger word, to look for in the captions.")
    words: str = option("", "YAML file with forbidden words and competitors' names to warn of.")
    logos: bool = option(False, "Warn of images that show a logo, a watermark or text.")
    endpoint: str = option("", "URL of an OpenAI-compatible service that looks for logos; images are sent there only.")
    key_from: str = option("", "Environment variable that holds the key of the service.")
    model: str = option("", "The service's model, or without one the folder or hub name of a CLIP model.")
    exclude_bad: bool = option(False, "Exclude the bad images from training.")


class Check(Kind):
    """``config`` has the keys of :class:`CheckOptions`."""

    name = "check"
    lane = "files"
    reads = ("train_data_dir", "metadata_path", "words", "model")
    writes = ("train_data_dir",)

    def plan(self, config: dict[str, Any], environment: Environment, where: str) -> Plan:
        """Check the config."""
        options = asdict(read(CheckOptions, config, where, required=("train_data_dir",)))
        options |= {key: absolute(options[key], environment) for key in ("train_data_dir", "metadata_path", "words")}
        if options["endpoint"]:
            options["endpoint"] = environment.endpoint(options["endpoint"], options["key_from"])
        else:
            options["model"] = environment.captioner_model(options["model"])
        return Plan(f"Check {folder_name(options['train_data_dir'])}", options)

    def run(self, job: Job, execution: Execution, environment: Environment) -> Outcome:
        """Check every image; what is measured is kept for the next time."""
        from ...preparation.check import bad, check
        from ...products.safety import WordList

        options = read(CheckOptions, job.config, job.name)
        folder = Path(options.train_data_dir)
        words = WordList.load(Path(options.words)) if options.words else None
        with _looking(options) as logos:
            report = check(
                folder,
                Path(options.metadata_path) if options.metadata_path else None,
                options.resolution,
                options.trigger_word,
                execution.progress,
                lambda: stop_check(execution),
                encoding=options.caption_encoding,
                words=words,
                logos=logos,
            )
        if options.exclude_bad:
            excluded.write(folder, bad(report) | excluded.read(folder))
        return Outcome("done", "", report.to_dict())


@contextmanager
def _looking(options: CheckOptions) -> Iterator[LogoDetector | None]:
    """What looks for logos, let go of at the end; None where nothing does."""
    if not options.logos:
        yield None
        return
    from ...captioning.base import CaptionerOptions
    from ...captioning.logos import make

    # Devices are for the jobs of their lanes.
    looks = make(
        CaptionerOptions(endpoint=options.endpoint, key_from=options.key_from, model=options.model, device="cpu")
    )
    try:
        yield looks
    finally:
        looks.close()
