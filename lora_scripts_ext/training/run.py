"""One training from its config to its file: prepare, loop, write."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .. import finite, memory
from ..adapters import file
from ..adapters.adapter import Adapter
from ..adapters.targets import select
from ..config import Config
from ..contract import Host, Session
from ..dataset import plan, source
from ..dataset.plan import Step
from ..dataset.store import Store
from ..errors import TrainingError, UserError
from ..images.skipped import Skipped
from . import facts, lock, memory_plan, notices, optimizer, previews, processes, publication
from . import state as states
from .attach import attached
from .events import Events
from .memory_plan import Fit
from .output import Output
from .processes import World
from .step import Stepper

Report = Callable[[dict[str, Any]], None]
Resume = bool | Literal["if-possible"]
_STATE_SECONDS = 60.0
_RATE_WINDOW = 20
_clock = time.monotonic
# Of what is free before the model itself may be there.
_CACHE_SHARE = 0.1


def _silent(event: dict[str, Any]) -> None:
    """Report to no one."""


class Stopped(Exception):
    """The user stopped the run before its first step; what is cached stays."""


@dataclass(frozen=True)
class Result:
    """What a run made.

    Attributes:
        lora: the finished file, or the last checkpoint of a stopped run.
        steps: steps done in all, those before a resume included.
        seconds: this process's wall time.
        loss: mean over the last epoch.
    """

    lora: Path | None
    steps: int
    seconds: float
    loss: float
    checkpoints: list[Path]
    skipped: list[Skipped]
    stopped: bool
    previews: list[Path] = field(default_factory=list)


def train(
    config: Config,
    host: Host,
    *,
    resume: Resume = False,
    report: Report = _silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train a LoRA as ``config`` says on the model ``host`` holds.

    Args:
        config: the run.
        host: opens the base model.
        resume: go on from the newest saved state; with ``if-possible`` start at 0 where there is none.
        report: called with every event as it happens.
        should_stop: called after every step.

    Raises:
        UserError: the input is wrong.
        TrainingError: the training went wrong; the last good state and what was written before are still there.
        Stopped: stopped while images were prepared.
    """
    started = time.time()
    output_dir = Path(config.output_dir)
    if resume is True and not states.saved(states.folder_in(output_dir)):
        raise UserError(
            f"There is nothing to resume in {states.folder_in(output_dir)}; check output_dir, or start a new run "
            "(for scripts: --resume-if-possible)."
        )
    with processes.joined() as world, ExitStack() as stack:
        if world.leads:
            # First of all: the model may have to be waited for.
            stack.enter_context(lock.locked(output_dir))
        session = stack.enter_context(host.open(config))
        report = report if world.leads else _silent
        meter = memory.Meter(session.model.device)
        store, fit = _prepare(config, session, world, report, should_stop)
        run = Run(config, session, store, world, report, should_stop, resume, meter, fit)
        stack.callback(run.close)
        recomputed = config.gradient_checkpointing
        stack.enter_context(
            attached(run.adapter, session.targets(), session.blocks(), gradient_checkpointing=recomputed)
        )
        result = run.go(started)
        if world.leads and result.lora is not None and not result.stopped:
            result = replace(result, lora=publication.publish(result.lora, host.lora_dir(), run.warn))
            # Before the model is given back: whoever waits for it may name the new file in his prompt.
            host.publish(result.lora)
    return result


def _prepare(
    config: Config, session: Session, world: World, report: Report, should_stop: Callable[[], bool]
) -> tuple[Store, Fit | None]:
    """Read the pictures and bring them to the device; with several processes the first fills the cache for all.

    Before that it is estimated whether the steps fit into the memory, and how.
    """
    model = session.model
    dataset = source.read(config, config.sides(model.resolution), model.vae_factor)
    for warning in dataset.warnings:
        report({"event": "warning", "text": warning})

    fit = memory_plan.check(session, config, dataset)

    def check() -> None:
        if should_stop():
            raise Stopped

    def progress(done: int, total: int, what: str) -> None:
        report({"event": "prepare", "done": done, "total": total, "what": what})

    if not world.leads:
        world.wait()
    store = Store.build(
        dataset, session, config, progress=progress, check=check, budget_bytes=memory.free(model.device, _CACHE_SHARE)
    )
    if world.leads:
        world.wait()
    for skipped in store.skipped:
        report({"event": "skipped", "picture": skipped.name, "reason": skipped.reason})
    for caption in sorted(session.cut_captions):
        report(
            {
                "event": "warning",
                "text": f"longer than the {session.caption_tokens} tokens that are read, cut: {caption}",
            }
        )
    session.release_encoders(text=not config.train_text_encoder)
    return store, fit


class Run:
    """The loop and its surroundings: where it stands, what it logs and writes."""

    def __init__(
        self,
        config: Config,
        session: Session,
        store: Store,
        world: World,
        report: Report,
        should_stop: Callable[[], bool],
        resume: Resume,
        meter: memory.Meter,
        fit: Fit | None,
    ) -> None:
        self.config = config
        self.session = session
        self.store = store
        self.world = world
        self.should_stop = should_stop
        self.output = Output(config, session.model)
        self.steps_per_epoch = plan.steps_per_epoch(store.examples, config, world.size)
        self.total_steps = total_steps(config, self.steps_per_epoch)
        self.adapter = _adapter(config, session)
        self.stepper = Stepper(config, session, self.adapter, store, world, self.total_steps, self.warn)
        self.identity = states.fingerprint(
            config,
            model_hash=session.model.hash,
            dataset_hash=store.content_hash,
            effective_batch=plan.effective_batch(config, world.size),
            total_steps=self.total_steps,
        )
        self.meter = meter
        self.fit = fit
        self.wanted = previews.requests(
            config, session.model, [e.caption for e in store.examples if not e.regularisation]
        )
        self.facts = facts.Facts(config, session.model, store, self.steps_per_epoch, self.total_steps)
        self.step = 0
        self.epoch_losses: list[float] = []
        self.last_epoch_loss = 0.0
        self.checkpoints: list[Path] = []
        self.previews: list[Path] = []
        warnings: list[str] = []
        self._resume(bool(resume), warnings.append)
        self.stepper.limit(fit)
        self.events = Events(Path(config.output_dir), self.step, config.tensorboard) if world.leads else None
        self._report = report
        for text in warnings:
            self.warn(text)
        self._waiting: tuple[int, float, Tensor] | None = None
        self._times: deque[float] = deque(maxlen=_RATE_WINDOW)
        self._state_time = self._step_time = _clock()

    def close(self) -> None:
        """Close the logs."""
        if self.events is not None:
            self.events.close()

    def go(self, started: float) -> Result:
        """Train to the end, or until stopped."""
        self.tell({
            "event": "start", "step": self.step, "steps": self.total_steps,
            "epochs": -(-self.total_steps // self.steps_per_epoch),
            "pictures": len(self.store.examples), "parameters": self.adapter.weights.numel(),
            "skipped": len(self.store.skipped),
        })  # fmt: skip
        for text in (*self.session.model.warnings, *notices.of(self.config, self.total_steps)):
            self.warn(text)
        if self.fit is not None and (note := self.fit.sentence(self.config)):
            self.warn(note)
        try:
            stopped = self._loop()
            return self._finish(started, stopped and self.step < self.total_steps)
        except TrainingError as error:
            self.tell({"event": "failed", "step": self.step, "text": str(error)})
            raise

    def _loop(self) -> bool:
        """All steps still to do; whether it was stopped."""
        if self.step == 0:
            self._draw(0)
        for epoch, micros in self._ahead():
            loss, rate = self.stepper.step(self.step, micros)
            self.step += 1
            self._log_later(loss, rate)
            stopped = self.world.any(self.should_stop(), self.session.model.device)
            self._after_step(epoch, stopped)
            if stopped:
                return True
        return False

    def tell(self, event: dict[str, Any]) -> None:
        """Log an event and report it."""
        if self.events is not None:
            stamped = {**event, "time": round(time.time(), 3)}
            self.events.write(stamped)
            self._report(stamped)

    def warn(self, text: str) -> None:
        """Log and report what the user should know."""
        self.tell({"event": "warning", "text": text})

    def _ahead(self) -> Iterator[tuple[int, Step]]:
        """The steps still to do, with their epoch (0-based)."""
        while self.step < self.total_steps:
            epoch, inside = divmod(self.step, self.steps_per_epoch)
            for micros in plan.epoch_steps(self.store.examples, self.config, epoch, self.world.size)[inside:]:
                if self.step >= self.total_steps:
                    return
                yield epoch, micros

    def _after_step(self, epoch: int, stopped: bool) -> None:
        config, done = self.config, self.step == self.total_steps
        epoch_done = self.step % self.steps_per_epoch == 0
        finished_epoch = epoch + 1
        if epoch_done or done:
            self._close_epoch()
        if config.preview_epochs and ((epoch_done and finished_epoch % config.preview_epochs == 0) or done):
            self._draw(finished_epoch)
        by_step = bool(config.save_steps) and self.step % config.save_steps == 0
        by_epoch = epoch_done and bool(config.save_epochs) and finished_epoch % config.save_epochs == 0
        if (by_step or stopped) and not done:
            self._checkpoint(lambda metadata: self.output.write_step(self.adapter, self.step, metadata))
        elif by_epoch and not done:
            self._checkpoint(lambda metadata: self.output.write_epoch(self.adapter, finished_epoch, metadata))
        if by_step or by_epoch or stopped or done or self._state_is_due():
            self._save_state()

    def _state_is_due(self) -> bool:
        """Whether a run that died in the next step would lose more than a minute."""
        now = _clock()
        step_seconds = now - self._step_time
        self._step_time = now
        return now + step_seconds - self._state_time > _STATE_SECONDS

    def _checkpoint(self, write: Callable[[dict[str, str]], Path]) -> None:
        self._flush_log()
        self._check_weights()
        if not self.world.leads:
            return
        with optimizer.averaged(self.stepper.optimizer, self.adapter):
            path = write(self.facts.metadata(self.step))
        self.checkpoints = self.output.prune([*(old for old in self.checkpoints if old != path), path])
        self.tell({"event": "checkpoint", "step": self.step, "path": str(path)})

    def _draw(self, epoch: int) -> None:
        """Draw the previews of an epoch; epoch 0 is the base model as it was found."""
        if not self.config.preview_epochs or not self.world.leads:
            return
        try:
            self._draw_all(epoch)
            return
        except memory.ERRORS as error:
            if not memory.ran_out(error):
                raise
            self.warn(
                "The memory is too small to draw previews of this size beside the model: some are missing. The LoRA is "
                "trained on; preview_epochs: 0 leaves them out."
            )
        # Outside of the handler, whose traceback holds on to what was computed.
        memory.release(self.session.model.device)

    def _draw_all(self, epoch: int) -> None:
        with ExitStack() as stack:
            stack.enter_context(optimizer.averaged(self.stepper.optimizer, self.adapter))
            lora = None
            if self.session.draws_from_file:
                lora = stack.enter_context(self.output.for_preview(self.adapter)) if epoch else None
                stack.enter_context(self.adapter.suspended())
            for path in previews.draw(self.session, self.config, self.wanted, epoch, lora):
                self.previews.append(path)
                self.tell({"event": "preview", "step": self.step, "epoch": epoch, "path": str(path)})

    def _save_state(self) -> None:
        self._flush_log()
        self._check_weights()
        if not self.world.leads:
            return
        progress = {
            "epoch_losses": self.epoch_losses,
            "last_epoch_loss": self.last_epoch_loss,
            "checkpoints": [path.name for path in self.checkpoints],
            "previews": [path.name for path in self.previews],
            "at_once": self.stepper.at_once,
        }
        now = states.State(
            self.step,
            progress,
            self.adapter.weights,
            self.stepper.optimizer.state_dict(),
            self.stepper.scaler.state_dict(),
        )
        states.save(self.output.state_dir, now, self.identity)
        self._state_time = _clock()

    def _resume(self, wanted: bool, warn: Callable[[str], None]) -> None:
        found = states.load(self.output.state_dir, self.identity, warn) if wanted else None
        if self.world.leads:
            self.output.prepare()
        if found is None:
            if self.world.leads:
                self.output.set_aside()
            return
        self.step = found.step
        self.stepper.restore(found.weights, found.optimizer, found.scaler)
        # Another split of the batch would round differently.
        self.stepper.at_once = found.progress.get("at_once")
        self.epoch_losses = found.progress["epoch_losses"]
        self.last_epoch_loss = found.progress["last_epoch_loss"]
        self.checkpoints = [self.output.folder / name for name in found.progress["checkpoints"]]
        self.previews = [self.output.folder / "previews" / name for name in found.progress["previews"]]

    def _log_later(self, loss: Tensor, rate: float) -> None:
        """Log the step before this one: reading a loss at once would make the device wait."""
        self._flush_log()
        self._waiting = (self.step, rate, loss)
        self._times.append(time.monotonic())

    def _flush_log(self) -> None:
        if self._waiting is None:
            return
        step, rate, loss = self._waiting
        self._waiting = None
        value = loss.item()
        if not math.isfinite(value):
            raise self._bad_loss(step)
        self.epoch_losses.append(value)
        per_second = self._rate()
        self.tell({
            "event": "step", "step": step, "steps": self.total_steps,
            "epoch": (step - 1) // self.steps_per_epoch + 1, "loss": value,
            "learning_rate": rate, "rate": per_second, "memory_mb": round(self.meter.peak_mb(), 1),
            "eta": round((self.total_steps - step) / per_second, 1) if per_second else None,
        })  # fmt: skip

    def _rate(self) -> float:
        """Steps per second over the last few."""
        if len(self._times) < 2 or self._times[-1] == self._times[0]:
            return 0.0
        return round((len(self._times) - 1) / (self._times[-1] - self._times[0]), 4)

    def _close_epoch(self) -> None:
        self._flush_log()
        self.last_epoch_loss = sum(self.epoch_losses) / max(1, len(self.epoch_losses))
        self.epoch_losses = []

    def _finish(self, started: float, stopped: bool) -> Result:
        self._flush_log()
        if stopped:
            lora = self.checkpoints[-1] if self.checkpoints else None
        else:
            lora = self._write_final()
        loss = self.last_epoch_loss if not self.epoch_losses else sum(self.epoch_losses) / len(self.epoch_losses)
        seconds = round(time.time() - started, 2)
        self.tell({"event": "end", "step": self.step, "stopped": stopped, "lora": str(lora), "seconds": seconds})
        return Result(lora, self.step, seconds, loss, self.checkpoints, self.store.skipped, stopped, self.previews)

    def _check_weights(self) -> None:
        if not torch.isfinite(self.adapter.weights).all():
            raise self._diverged(f"The LoRA's weights are no finite numbers after step {self.step}")

    def _bad_loss(self, step: int) -> TrainingError:
        what = f"The loss is not a finite number at step {step}"
        # In the first step the adapter has no effect yet, unless it was loaded: the base model is to blame.
        return TrainingError(finite.explain(self.session, what)) if step == 1 else self._diverged(what)

    def _diverged(self, what: str) -> TrainingError:
        kept = states.saved(self.output.state_dir)
        still = f" The state of {kept[-1].name} is kept." if kept else ""
        return TrainingError(
            f"{what}: the training diverged. Lower learning_rate (it is {self.config.learning_rate:g}) and start "
            f"again.{still}"
        )

    def _write_final(self) -> Path | None:
        self._check_weights()
        if not self.world.leads:
            return None
        preview = self.previews[-len(self.wanted)] if len(self.previews) >= len(self.wanted) else None
        with optimizer.averaged(self.stepper.optimizer, self.adapter):
            return self.output.write_final(self.adapter, self.facts.metadata(self.step), preview)


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
