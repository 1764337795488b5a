"""Preview images: fixed prompts and seeds, the generation parameters inside the PNG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL.PngImagePlugin import PngInfo

from .. import files, memory
from ..config import Config
from ..contract import ModelInfo, PreviewRequest, Session
from ..families.registry import by_name
from . import optimizer
from .listener import Context, Listener
from .log import Log

_PROMPTS_FROM_CAPTIONS = 2


class Previews(Listener):
    """Draws previews before the first step and every ``preview_epochs``.

    Attributes:
        paths: all previews drawn so far.
    """

    def __init__(self, context: Context, log: Log) -> None:
        self._context = context
        self._log = log
        captions = [example.caption for example in context.store.examples if not example.regularisation]
        self._requests = requests(context.config, context.session.model, captions)
        self.paths: list[Path] = []

    def state_dict(self) -> dict[str, Any]:
        """The names of the previews, for JSON."""
        return {"previews": [path.name for path in self.paths]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count the previews of a saved state as this run's."""
        self.paths = [self._context.output.folder / "previews" / name for name in state["previews"]]

    def cover(self) -> Path | None:
        """The first preview of the last ones drawn, which stands for the finished file."""
        return self.paths[-len(self._requests)] if len(self.paths) >= len(self._requests) else None

    def on_train_begin(self) -> None:
        """Draw the base model as it was found, unless the run is resumed."""
        if self._context.progress.step == 0:
            self._draw(0)

    def on_epoch_end(self) -> None:
        """Draw the epoch's previews where they are due."""
        every, progress = self._context.config.preview_epochs, self._context.progress
        if every and ((progress.epoch_ended and progress.epoch % every == 0) or progress.done):
            self._draw(progress.epoch)

    def _draw(self, epoch: int) -> None:
        """Draw the previews of an epoch; epoch 0 is the base model."""
        context = self._context
        if not context.config.preview_epochs or not context.world.is_main:
            return
        try:
            self._draw_all(epoch)
            return
        except memory.ERRORS as error:
            if not memory.ran_out(error):
                raise
            self._log.warn(
                "Out of memory while drawing previews of this size: some are missing. Training continues; "
                "preview_epochs: 0 disables previews."
            )
        # Outside of the handler, whose traceback holds on to what was computed.
        memory.release(context.session.model.device)

    def _draw_all(self, epoch: int) -> None:
        context, session = self._context, self._context.session
        with ExitStack() as stack:
            stack.enter_context(optimizer.averaged(context.stepper.optimizer, context.adapter))
            lora = None
            if session.draws_from_file:
                lora = stack.enter_context(context.output.for_preview(context.adapter)) if epoch else None
                stack.enter_context(context.adapter.suspended())
            # Each may take a minute, in which nothing else is heard of the run.
            self._emit_drawing(0)
            for done, path in enumerate(draw(session, context.config, self._requests, epoch, lora), 1):
                self.paths.append(path)
                self._log.emit({
                    "event": "preview", "step": context.progress.step, "epoch": epoch, "path": str(path),
                })  # fmt: skip
                self._emit_drawing(done)

    def _emit_drawing(self, done: int) -> None:
        self._log.emit({"event": "drawing", "done": done, "total": len(self._requests)})


def prompts(config: Config, captions: list[str]) -> list[str]:
    """The user's prompts, or the first different captions of the dataset."""
    distinct = list(dict.fromkeys(caption for caption in captions if caption))
    return config.preview_prompts or distinct[:_PROMPTS_FROM_CAPTIONS] or [""]


def requests(config: Config, model: ModelInfo, captions: list[str]) -> list[PreviewRequest]:
    """One request a prompt; seeds count up from ``preview_seed``."""
    width, height = config.sides(model.resolution)
    return [
        PreviewRequest(
            prompt=prompt,
            negative=config.preview_negative,
            seed=config.preview_seed + index,
            width=width,
            height=height,
            steps=config.preview_steps,
            cfg_scale=config.preview_cfg_scale or by_name(model.family).cfg_scale,
            sampler=config.preview_sampler,
        )
        for index, prompt in enumerate(prompts(config, captions))
    ]


def draw(
    session: Session, config: Config, preview_requests: list[PreviewRequest], epoch: int, lora: Path | None
) -> Iterator[Path]:
    """Draw every request with the model as it is now; yield ``output_dir/previews/NAME-eXXXX-NN.png`` as written.

    With ``save_captions: false`` the prompts, which may be captions, stay out of the PNG.

    lora: the adapter as a file, for a session that draws from files.
    """
    for index, request in enumerate(preview_requests):
        image = session.preview(request, lora)
        path = Path(config.output_dir) / "previews" / f"{config.name}-e{epoch:04d}-{index:02d}.png"
        described = request if config.save_captions else replace(request, prompt="", negative="")
        info = PngInfo()
        info.add_text("parameters", parameters(described, session.model, f"<lora:{config.name}:1>" if epoch else ""))
        with files.replacing(path) as temporary:
            image.save(temporary, format="PNG", pnginfo=info)
        yield path


def parameters(request: PreviewRequest, model: ModelInfo, lora: str) -> str:
    """The text the WebUI writes into its images and reads back under "PNG Info"."""
    lines = [" ".join(filter(None, (request.prompt, lora)))]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    scale = by_name(model.family).scale_text(request.cfg_scale)
    lines.append(
        f"Steps: {request.steps}, Sampler: {request.sampler}, {scale}, Seed: {request.seed}, "
        f"Size: {request.width}x{request.height}, Model hash: {model.hash[:10]}, Model: {model.name}"
    )
    return "\n".join(lines)
