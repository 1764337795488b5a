"""One training from its config to its file: prepare, train, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from .. import memory, threads
from ..adapters import file
from ..adapters.adapter import Adapter
from ..adapters.targets import select
from ..config import Config
from ..contract import Host, Session
from ..dataset import plan, source
from ..dataset.plan import Step
from ..dataset.store import Store
from ..errors import TrainingError, UserError
from ..evaluation.suggestion import Suggestion
from ..images.skipped import Skipped
from . import held_out, lock, memory_plan, notices, processes, publication
from . import state as states
from .attach import attached
from .checkpoints import Checkpoints
from .listener import Context, Listeners, Progress
from .log import Log, Report
from .memory_plan import Fit
from .output import Output
from .previews import Previews
from .processes import World
from .state_saver import StateSaver
from .step import Stepper
from .suggested import suggested
from .validation import Point, Validation

Resume = bool | Literal["if-possible"]
# Of what is free before the model itself may be there.
_CACHE_SHARE = 0.1


def _silent(event: dict[str, Any]) -> None:
    """Report to no one."""


class Stopped(Exception):
    """The user stopped the run before its first step; what is cached stays."""


@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Attributes:
        lora: the finished file, or the last checkpoint of a stopped run.
        steps: steps done in all, those before a resume included.
        seconds: this process's wall time.
        loss: mean over the last epoch.
        published: where the finished file was copied to for use; None where it was not.
        held_out: the loss on held-out images, by step.
        suggested: which file to use, at which strength; None where no images were held out, or the run was stopped.
        warnings: what the user should know about the run.
        ended_early: whether the run ended before its last step because the held-out loss no longer fell.
    """

    lora: Path | None
    steps: int
    seconds: float
    loss: float
    checkpoints: list[Path]
    skipped: list[Skipped]
    stopped: bool
    previews: list[Path] = field(default_factory=list)
    published: Path | None = None
    held_out: list[Point] = field(default_factory=list)
    suggested: Suggestion | None = None
    warnings: list[str] = field(default_factory=list)
    ended_early: bool = False


def train(
    config: Config,
    host: Host,
    *,
    resume: Resume = False,
    report: Report = _silent,
    should_stop: Callable[[], bool] = lambda: False,
    before_publishing: Callable[[], None] = lambda: None,
    names: Collection[str] | None = None,
    unseen: Collection[str] | None = None,
    approve: Callable[[Session, Path], bool] = lambda session, lora: True,
    publish_dir: Path | None = None,
) -> Result:
    """Train a LoRA as ``config`` says on the model ``host`` holds.

    Args:
        config: the run.
        host: opens the base model.
        resume: continue from the newest saved state; with ``if-possible`` start at 0 where there is none.
        report: called with every event as it happens.
        should_stop: called after every step.
        before_publishing: called before the finished file is copied to where LoRAs belong; by raising it prevents that.
        names: the training images to use of those in ``train_data_dir``; None uses all.
        unseen: those of ``names`` to hold out; None leaves the choice to ``validation_share``.
        approve: called with the open model, the adapter detached, and the finished file; if it returns False the file
            stays in ``output_dir`` and is not published.
        publish_dir: where the finished file is copied to if the host has no folder of its own for LoRAs.

    Raises:
        UserError: the input is wrong.
        TrainingError: the training failed; the last good state and all files written before are kept.
        Stopped: stopped while images were prepared.
    """
    started = time.time()
    output_dir = Path(config.output_dir)
    if resume is True and not states.saved(states.folder_in(output_dir)):
        raise UserError(
            f"There is nothing to resume in {states.folder_in(output_dir)}; check output_dir, or start a new run "
            "(for scripts: --resume-if-possible)."
        )
    with processes.joined() as world, threads.restored(), ExitStack() as stack:
        if world.is_main:
            # First of all: the model may have to be waited for.
            stack.enter_context(lock.locked(output_dir))
        session = stack.enter_context(host.open(config))
        report = report if world.is_main else _silent
        meter = memory.Meter(session.model.device)
        everything, fit = _prepare(config, session, world, report, should_stop, names)
        store, images = _split(everything, config, unseen)
        run = Run(config, session, store, images, world, report, should_stop, resume, meter, fit)
        stack.callback(run.close)
        recomputed = config.gradient_checkpointing
        with attached(run.context.adapter, session.targets(), session.blocks(), gradient_checkpointing=recomputed):
            run.train()
        result = run.finish(started)
        if world.is_main and result.lora is not None and not result.stopped and approve(session, result.lora):
            before_publishing()
            published = publication.publish(result.lora, _publish_dir(host, output_dir, publish_dir), run.warn)
            # Before the model is given back: whoever waits for it may name the new file in his prompt.
            host.publish(published)
            result = replace(result, lora=published, published=published)
    return result


def _publish_dir(host: Host, output_dir: Path, otherwise: Path | None) -> Path:
    """Where a finished LoRA is copied to; ``otherwise`` where the host leaves it in ``output_dir``."""
    folder = host.lora_dir()
    return otherwise if otherwise is not None and folder.resolve() == output_dir.resolve() else folder


def _prepare(
    config: Config,
    session: Session,
    world: World,
    report: Report,
    should_stop: Callable[[], bool],
    names: Collection[str] | None,
) -> tuple[Store, Fit | None]:
    """Read the images and bring them to the device; with several processes the first fills the cache for all.

    Before that, the memory of a step is estimated: an error where not even one image fits.
    """
    model = session.model
    dataset = source.read(config, config.sides(model.resolution), model.vae_factor)
    if names is not None:
        dataset = dataset.only(names)
    for warning in dataset.warnings:
        report({"event": "warning", "text": warning})

    fit = memory_plan.check(session, config, dataset)

    def check() -> None:
        if should_stop():
            raise Stopped

    def progress(done: int, total: int, what: str) -> None:
        report({"event": "prepare", "done": done, "total": total, "what": what})

    if not world.is_main:
        world.wait()
    store = Store.build(
        dataset,
        session,
        config,
        progress=progress,
        check=check,
        budget_bytes=memory.free(model.device, _CACHE_SHARE),
        text_budget_bytes=memory_plan.text_budget(),
    )
    if world.is_main:
        world.wait()
    for skipped in store.skipped:
        report({"event": "skipped", "picture": skipped.name, "reason": skipped.reason})
    for caption in sorted(session.cut_captions):
        report({"event": "warning", "text": f"Caption truncated to {session.caption_tokens} tokens: {caption}"})
    session.release_encoders(text=not config.train_text_encoder)
    return store, fit


def _split(store: Store, config: Config, unseen: Collection[str] | None) -> tuple[Store, Store | None]:
    """What is trained on, and the images that are held out; None where none are."""
    examples = store.examples
    if unseen is None:
        outside = held_out.split(store, config)
    else:
        outside = [i for i, one in enumerate(examples) if one.name in unseen and not one.regularisation]
    inside = [index for index in range(len(examples)) if index not in set(outside)]
    return store.only(inside), store.only(outside) if outside else None


class Run:
    """One training: the loop, and the listeners that log, preview and save."""

    def __init__(
        self,
        config: Config,
        session: Session,
        store: Store,
        images: Store | None,
        world: World,
        report: Report,
        should_stop: Callable[[], bool],
        resume: Resume,
        meter: memory.Meter,
        fit: Fit | None,
    ) -> None:
        self._should_stop = should_stop
        self._fit = fit
        self._images = images
        self.context = context = _context(config, session, store, world, self.warn)
        identity = _identity(context)
        warnings: list[str] = []
        state = states.load(context.output.state_dir, identity, warnings.append) if resume else None
        if world.is_main:
            context.output.prepare()
            if state is None:
                context.output.set_aside()
        if state is not None:
            context.progress.step = state.step
            context.stepper.restore(state)
            warnings += _resume_threads(state, session.model.device, world.size)
        context.stepper.limit(fit)
        self.log = Log(context, report, meter)
        self.validation = Validation(context, self.log, images)
        self.previews = Previews(context, self.log)
        self.checkpoints = Checkpoints(context, self.log, self.validation, self.previews)
        saver = StateSaver(context, identity, self.log, self.validation, self.previews, self.checkpoints)
        if state is not None:
            saver.restore(state)
        self._listeners = Listeners((self.log, self.validation, self.previews, self.checkpoints, saver))
        for text in warnings:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Log and report what the user should know."""
        self.log.warn(text)

    def close(self) -> None:
        """Close the log files."""
        self.log.close()

    def train(self) -> None:
        """Train to the end, or until stopped."""
        self._announce()
        try:
            self._listeners.on_train_begin()
            self._loop()
            self._listeners.on_train_end()
        except TrainingError as error:
            self.log.emit({"event": "failed", "step": self.context.progress.step, "text": str(error)})
            raise

    def finish(self, started: float) -> Result:
        """What the run came to; the adapter must be detached.

        ``started`` is when the run began, in seconds since the epoch.
        """
        suggestion = None
        if self.context.world.is_main and self.context.progress.done:
            suggestion = self._suggested()
        if suggestion is not None:
            self.log.emit({"event": "suggested", **asdict(suggestion)})
            if suggestion.warns:
                self.warn(suggestion.reason)
        return self._result(started, suggestion)

    def _suggested(self) -> Suggestion | None:
        """Which file to use. Where memory runs out there is no suggestion: what was trained must not be lost for it."""
        try:
            return suggested(self.context, self.log, self.validation, self.checkpoints, self._images, self.warn)
        except memory.ERRORS as error:
            if not memory.ran_out(error):
                raise
            self.warn("Out of memory while the checkpoints were compared: none is suggested. All files are written.")
        # Outside of the handler, whose traceback holds on to what was computed.
        memory.release(self.context.session.model.device)
        return None

    def _loop(self) -> None:
        """Do the steps that are left, until the user stops the run."""
        context, progress, listeners = self.context, self.context.progress, self._listeners
        for epoch in range(progress.step // progress.steps_per_epoch, progress.epochs):
            if progress.done:
                return
            for micros in self._steps_left(epoch):
                loss = context.stepper.backward(progress.step, micros)
                learning_rate = context.stepper.update(progress.step)
                progress.step += 1
                listeners.on_optimizer_step(loss, learning_rate)
                stopped = context.world.any(self._should_stop(), context.session.model.device)
                if progress.epoch_ended or progress.done:
                    listeners.on_epoch_end()
                    self._end_early()
                listeners.on_step_end(stopped)
                if stopped:
                    return

    def _end_early(self) -> None:
        """End the run where the held-out loss no longer falls; the process that measures it decides for all."""
        context, progress = self.context, self.context.progress
        if not context.config.early_stopping or progress.done:
            return
        progress.ended_early = context.world.any(self.validation.should_stop(), context.session.model.device)
        if progress.ended_early and (best := self.validation.best) is not None:
            self.log.emit({"event": "ended_early", "step": progress.step, "best": best.step, "epoch": best.epoch})

    def _steps_left(self, epoch: int) -> list[Step]:
        """The steps of an epoch (0-based) that are still to do."""
        context, progress = self.context, self.context.progress
        steps = plan.epoch_steps(context.store.examples, context.config, epoch, context.world.size)
        before = epoch * progress.steps_per_epoch
        return steps[progress.step - before : progress.total_steps - before]

    def _announce(self) -> None:
        """Log what is about to be trained, and what the user should know of it."""
        context, progress = self.context, self.context.progress
        self.log.emit({
            "event": "start", "step": progress.step, "steps": progress.total_steps, "epochs": progress.epochs,
            "pictures": len(context.store.examples), "parameters": context.adapter.weights.numel(),
            "held_out_pictures": self.validation.images,
            "skipped": len(context.store.skipped), "base_model": context.config.base_model,
        })  # fmt: skip
        for text in (*context.session.model.warnings, *notices.of(context.config, progress.total_steps)):
            self.warn(text)
        if context.config.early_stopping and not self.validation.images:
            self.warn(
                "early_stopping has no effect: no images are held out. Use at least 15 different images, or raise "
                "validation_share."
            )
        if self._fit is not None and (note := self._fit.sentence(context.config)):
            self.warn(note)

    def _result(self, started: float, suggestion: Suggestion | None) -> Result:
        progress, checkpoints = self.context.progress, self.checkpoints.paths
        stopped = not progress.done
        lora = (checkpoints[-1] if checkpoints else None) if stopped else self.checkpoints.final
        seconds = round(time.time() - started, 2)
        self.log.emit(
            {"event": "end", "step": progress.step, "stopped": stopped, "lora": str(lora), "seconds": seconds}
        )
        return Result(
            lora,
            progress.step,
            seconds,
            self.log.mean_loss(),
            checkpoints,
            self.context.store.skipped,
            stopped,
            self.previews.paths,
            held_out=self.validation.points,
            suggested=suggestion,
            warnings=self.log.warnings,
            ended_early=progress.ended_early,
        )


def _resume_threads(state: states.State, device: torch.device, processes: int) -> list[str]:
    """Let a run on the CPU take as many threads as before it was resumed; a warning where it cannot."""
    number = state.progress.get("threads", threads.count())
    if device.type != "cpu" or threads.take(number, processes):
        return []
    return [
        f"The run was started with {number} CPU threads, more than this machine has cores for; it continues with "
        f"{threads.count()} and ends with weights that differ by rounding."
    ]


def _context(config: Config, session: Session, store: Store, world: World, warn: Callable[[str], None]) -> Context:
    steps_per_epoch = plan.steps_per_epoch(store.examples, config, world.size)
    progress = Progress(total_steps(config, steps_per_epoch), steps_per_epoch)
    adapter = _adapter(config, session)
    stepper = Stepper(config, session, adapter, store, world, progress.total_steps, warn)
    return Context(config, session, store, world, adapter, stepper, Output(config, session.model), progress)


def _identity(context: Context) -> dict[str, Any]:
    """What a saved state and the run that resumes from it must have in common."""
    return states.fingerprint(
        context.config,
        model_hash=context.session.model.hash,
        dataset_hash=context.store.content_hash,
        effective_batch=plan.effective_batch(context.config, context.world.size),
        total_steps=context.progress.total_steps,
    )


def total_steps(config: Config, steps_per_epoch: int) -> int:
    """Steps of the whole run: all epochs, or ``max_steps`` if that is less."""
    everything = steps_per_epoch * config.epochs
    return min(everything, config.max_steps) if config.max_steps else everything


def _adapter(config: Config, session: Session) -> Adapter:
    targets = select(list(session.targets()), config.target, config.train_text_encoder)
    adapter = Adapter(
        targets,
        config.lora_rank,
        config.alpha,
        dropout=config.lora_dropout,
        seed=config.seed,
        device=session.model.device,
        dtype=session.model.dtype,
    )
    if config.init_lora:
        adapter.load(file.read(Path(config.init_lora)))
    return adapter
