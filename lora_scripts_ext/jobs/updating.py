"""An update of a model: new images taken in, checked, captioned, trained on; the new version compared with the last.

Every stage can be done again, and does nothing where it was done: an attempt after one that died goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .. import config as configs
from .. import json_text
from ..captioning import choose
from ..captioning.base import CaptionerOptions
from ..captioning.label import label
from ..captions.history import Place
from ..config import Config
from ..contract import Session
from ..images import edited, excluded, folder
from ..images.exclusive import changing
from ..library.database import Database
from ..library.job import Job
from ..library.model import Version
from ..library.models import Models
from ..preparation import intake
from ..preparation.check import bad, check
from ..preparation.report import Report
from ..training import held_out, publication, run
from ..training import state as states
from ..training.held_out import Comparison, HeldOutLoss, Losses
from ..training.run import Result
from . import publishing, update_record
from .environment import Environment
from .execution import Execution
from .kinds.kind import Stopped, stop_check
from .outcome import Outcome
from .update_record import Seen, Split

_RESOLUTION = 512


class Waiting(Exception):
    """There is nothing to train yet; the text says what is waited for."""


@dataclass
class _Counts:
    """What became of the images.

    Attributes:
        taken: copied into the model's folder by this attempt.
        new: not part of an update before.
        excluded: of the new ones, excluded as bad.
        captioned: by the captioner.
        skipped: files that were not taken, with the reason.
    """

    taken: int = 0
    new: int = 0
    excluded: int = 0
    captioned: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)


class Updating:
    """One attempt at an update."""

    def __init__(self, job: Job, execution: Execution, environment: Environment) -> None:
        """Nothing is done yet."""
        self._job = job
        self._execution = execution
        self._environment = environment
        self._watch: dict[str, Any] = job.config["watch"]
        self._home = Path(job.config["home"])
        self._folder = self._home / "runs" / f"update-{job.id}"
        self._config = configs.from_dict({**job.config["train"], "output_dir": str(self._folder)}, job.name)
        self._images = Path(self._config.train_data_dir)
        metadata = Path(self._config.metadata_path) if self._config.metadata_path else None
        self._place = Place(self._images, metadata, self._config.caption_encoding)
        self._counts = _Counts()

    def run(self) -> Outcome:
        """Do all stages that are left."""
        try:
            split = self._split_before()
            resume = split is not None
            if split is None:
                split = self._prepare()
                update_record.write_split(self._folder, split)
        except Waiting as reason:
            return Outcome("done", str(reason), {"published": False, "images": asdict(self._counts)})
        return self._train(split, resume=resume)

    def _split_before(self) -> Split | None:
        """What an earlier attempt has begun to train on; None where that has changed since, or there is none."""
        split = update_record.read_split(self._folder)
        if split is None or not states.saved(states.folder_in(self._folder)):
            return None
        there = all((self._images / name).is_file() for name in (*split.trained, *split.held_out))
        return split if there and split.captions == self._digest(split.trained) else None

    def _prepare(self) -> Split:
        """Take in, check, caption, and decide which images are trained on and which held out.

        Raises:
            Waiting: there are too few new images.
        """
        unsettled = self._take_in()
        names = [name for name in self._listed() if name not in unsettled]
        contents = update_record.contents(self._home, self._images, names)
        last = self._last_version()
        before = update_record.trained_on(last, self._images, contents)
        seen = update_record.read_seen(self._home) or Seen(contents=tuple(before))
        new = [name for name, content in contents.items() if content not in set(seen.contents)]
        self._counts.new = len(new)
        if not new:
            raise Waiting("There are no new images.")
        report = self._check(new)
        self._caption()
        used = {name: contents[name] for name in self._listed() if name in contents}
        alike = {name for kept, copies in report.kept.items() for name in (kept, *copies)}
        eligible = {name for name, content in used.items() if content not in before} - alike
        outside = held_out.choose(used, self._config.seed, eligible=eligible, before=seen.held_out)
        if not outside:
            raise Waiting(
                f"{len(eligible)} images are new to the last version, too few to hold some out and compare with it; "
                "they are trained on when there are 4."
            )
        trained = {name: content for name, content in used.items() if name not in outside}
        return Split(
            trained=trained,
            held_out={name: used[name] for name in outside},
            seen=tuple(sorted({*seen.contents, *contents.values()})),
            init=_file_of(last),
            version=last.number if last is not None else None,
            captions=self._digest(trained),
            counts=asdict(self._counts),
        )

    def _take_in(self) -> set[str]:
        """Take new images in; returns those of the model's folder that are still being written."""
        source = self._environment.readable(self._watch["folder"])
        seconds = self._watch["settle_seconds"]
        if source.resolve() == self._images.resolve():
            look = partial(update_record.pending, self._home, self._images, source)
            found = look()
            settled = intake.settled(look, seconds, self._stop) if found else {}
            return {Path(path).relative_to(self._images).as_posix() for path in set(found) - set(settled)}
        taken = update_record.taken(self._home)
        if taken.new(intake.stamps(source)):
            new = intake.settled(lambda: taken.new(intake.stamps(source)), seconds, self._stop)
            with changing(self._images, "import"):
                result = intake.take_in(
                    source, self._images, new, taken, progress=self._execution.progress, check=self._stop
                )
            self._counts.taken = len(result.names)
            self._counts.skipped = [{"name": one.name, "reason": one.reason} for one in result.skipped]
        return set()

    def _check(self, new: Collection[str]) -> Report:
        """Exclude the bad ones of the new images; what a person has decided about older ones stays."""
        side = self._config.resolution[0] if self._config.resolution else _RESOLUTION
        report = check(
            self._images, self._place.metadata, side, self._config.trigger_word, self._execution.progress, self._stop,
            encoding=self._place.encoding,
        )  # fmt: skip
        unwanted = bad(report) & set(new)
        if unwanted:
            with changing(self._images):
                excluded.write(self._images, unwanted | excluded.read(self._images))
        self._counts.excluded = len(unwanted)
        return report

    def _caption(self) -> None:
        store = self._place.open()
        unwanted = excluded.read(self._images)
        if all(name in unwanted for name in store.without_caption):
            return
        captioner = choose.make(
            CaptionerOptions(
                captioner=self._watch["captioner"], model=self._watch["caption_model"],
                endpoint=self._watch["endpoint"], key_from=self._watch["key_from"], device=self._config.device,
            )
        )  # fmt: skip
        try:
            done = label(self._images, store, captioner, progress=self._execution.progress, check=self._stop)
        finally:
            captioner.close()
        self._counts.captioned = done.written

    def _train(self, split: Split, *, resume: bool) -> Outcome:
        started = self._with_start(split)
        compared: list[dict[str, Losses]] = []

        def approve(session: Session, lora: Path) -> bool:
            compared.append(self._losses(split, started, session, lora))
            return held_out.compare(
                compared[0]["new"], compared[0]["old"]
            ).no_worse and not publishing.approval_is_required(self._environment.data_dir)

        def before_publishing() -> None:
            self._execution.require_lease()
            publishing.keep_before(self._environment, self._job.config["model"], self._job.id, self._config.name)

        publication.inherit(self._folder)
        try:
            result = run.train(
                started,
                self._environment.host(self._execution.stop),
                resume="if-possible" if resume else False,
                report=self._execution.report,
                should_stop=self._execution.should_stop,
                before_publishing=before_publishing,
                names={*split.trained, *split.held_out},
                unseen=split.held_out,
                approve=approve,
                publish_dir=self._home / publishing.PUBLISHED,
            )
        except run.Stopped as error:
            raise Stopped from error
        if result.stopped:
            return Outcome("stopped", f"Stopped at step {result.steps}; retry the job to continue from there.")
        update_record.write_seen(self._home, Seen(split.seen, tuple(split.held_out.values())))
        return self._outcome(split, result, compared[0])

    def _with_start(self, split: Split) -> Config:
        """The training: from the last version, where there is one, and with as many steps as that takes."""
        changes: dict[str, Any] = {"init_lora": split.init} if split.init else {}
        if split.init and self._watch["steps"]:
            # As many epochs as that takes.
            changes |= {"max_steps": self._watch["steps"], "epochs": max(self._config.epochs, self._watch["steps"])}
        return configs.from_dict({**self._config.changed(), **changes}, self._job.name)

    def _losses(self, split: Split, config: Config, session: Session, lora: Path) -> dict[str, Losses]:
        loss = HeldOutLoss.of_images(
            config, session, split.held_out, progress=self._execution.progress, check=self._stop
        )
        base = loss.of_file(None)
        return {"new": loss.of_file(lora), "old": loss.of_file(Path(split.init)) if split.init else base, "base": base}

    def _outcome(self, split: Split, result: Result, losses: Mapping[str, Losses]) -> Outcome:
        comparison = held_out.compare(losses["new"], losses["old"])
        facts = {
            "lora": str(result.lora), "file": str(self._folder / f"{self._config.name}.safetensors"),
            "published": result.published is not None, "refused": not comparison.no_worse,
            "init_lora": split.init, "from_version": split.version,
            "steps": result.steps, "loss": result.loss, "seconds": result.seconds,
            "checkpoints": [str(path) for path in result.checkpoints],
            "previews": [str(path) for path in result.previews],
            "images": {**split.counts, "trained": len(split.trained), "held_out": len(split.held_out)},
            "held_out": {
                **{name: one.mean for name, one in losses.items()},
                "difference": comparison.difference, "tolerance": comparison.tolerance,
            },
        }  # fmt: skip
        return Outcome("done", _sentence(split, comparison, losses, result.published), facts)

    def _listed(self) -> list[str]:
        """The images of the model's folder that are not excluded."""
        names, _ = folder.scan(self._images, "train_data_dir")
        unwanted = excluded.read(self._images)
        return [name for name in names if name not in unwanted]

    def _last_version(self) -> Version | None:
        """The newest version that was not refused."""
        database = Database(self._environment.data_dir)
        try:
            versions = Models(database).versions(self._job.config["model"])
        finally:
            database.close()
        return next((one for one in versions if not one.facts.get("refused")), None)

    def _digest(self, names: Collection[str]) -> str:
        """Of the captions and edits of these images."""
        store = self._place.open()
        edits = edited.read(self._images)
        captions = [
            # Nothing where there is no edit, as it was before there were any.
            [name, store.entry(name).prompt, *([edits[name].key()] if name in edits else [])]
            for name in sorted(set(names) & set(store.names))
        ]
        return hashlib.sha256(json_text.dumps(captions).encode("utf-8", "backslashreplace")).hexdigest()

    def _stop(self) -> None:
        stop_check(self._execution)


def _file_of(version: Version | None) -> str:
    """Where the LoRA of a version is; empty without a version.

    Raises:
        Waiting: the file has gone.
    """
    if version is None:
        return ""
    for path in (version.file, version.published):
        if path and Path(path).is_file():
            return path
    raise Waiting(
        f"The file of version {version.number}, {version.file}, is not there; put it back, or train a new version."
    )


def _sentence(split: Split, comparison: Comparison, losses: Mapping[str, Losses], published: Path | None) -> str:
    against = f"version {split.version}" if split.version is not None else "the base model"
    figures = (
        f"on {len(split.held_out)} held-out images its loss is {losses['new'].mean:.5f}, that of {against} "
        f"{losses['old'].mean:.5f} (tolerance {comparison.tolerance:.5f})"
    )
    if published is not None:
        return f"Published: {figures}."
    if comparison.no_worse:
        return f"{publishing.WITHHELD} In figures, {figures}."
    return f"Not published: {figures}; look at its previews and images, or wait for more of them."
