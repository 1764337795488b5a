"""What AUTOMATIC1111's WebUI and its descendants have in common: the state they show, the model, the list of LoRAs.

Importable only inside a WebUI.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import torch
from modules import sd_models, shared
from torch import nn

from . import generation_lock, notices

#: the name a LoRA is listed by while previews are drawn from its file
PREVIEW = "lora-trainer-preview"
AFTER_TRAINING = "A LoRA is being trained; your choice takes effect when the training has ended."
AFTER_DRAWING = "Images of a catalogue are being drawn; your choice takes effect when they are done."


def lora_dir() -> Path:
    """Where the WebUI looks for LoRAs."""
    return Path(shared.cmd_opts.lora_dir)


def publish() -> None:
    """Refresh the WebUI's list of LoRAs, so that a prompt can use a new file."""
    networks().list_available_networks()


def networks() -> ModuleType:
    """The module of the built-in Lora extension."""
    return sys.modules["networks"]


def entry(name: str, lora: Path) -> Any:
    """The file as the WebUI lists LoRAs, under this name; to be used with :func:`listed`."""
    lookup = networks().available_network_hash_lookup
    before = dict(lookup)
    made = networks().network.NetworkOnDisk(name, str(lora))
    # It has put itself there, perhaps in place of the same file's own entry.
    lookup.clear()
    lookup.update(before)
    return made


@contextmanager
def listed(entries: Sequence[Any]) -> Iterator[None]:
    """Prompts can use these entries within this context; afterwards they are not listed any more."""
    nets = networks()
    lookup = nets.available_network_hash_lookup
    replaced_entries = {one.shorthash: lookup[one.shorthash] for one in entries if one.shorthash in lookup}
    for one in entries:
        nets.available_networks[one.name] = nets.available_network_aliases[one.name] = one
    try:
        yield
    finally:
        for one in entries:
            nets.available_networks.pop(one.name, None)
            nets.available_network_aliases.pop(one.name, None)
            lookup.pop(one.shorthash, None)
        lookup.update(replaced_entries)


@contextmanager
def announced(title: str, stop: Callable[[], None]) -> Iterator[None]:
    """The WebUI shows a job called ``title``; its Interrupt calls ``stop``. Reload UI does not end it."""
    state = shared.state
    state.begin(job=title)
    # Whatever button is pressed next resets state.interrupted: the call is caught, not the flag.
    interrupt = state.interrupt

    def interrupted() -> None:
        # Reload UI interrupts what is being drawn; the page holds on to its method, so the caller has to tell.
        if sys._getframe(1).f_code.co_name != "request_restart":
            interrupt()
            stop()

    state.interrupt = interrupted
    try:
        yield
    finally:
        del state.interrupt
        state.end()
        state.interrupted = state.skipped = False


def show_progress(step: int, steps: int) -> None:
    """The WebUI's API and progress bar say how far the job is; a preview drawn in between counts for itself."""
    state = shared.state
    state.job_count, state.job_no, state.sampling_step, state.sampling_steps = 1, 0, step, steps


@contextmanager
def model_locked(*others: tuple[ModuleType, str]) -> Iterator[None]:
    """Other threads cannot unload or switch the model within this context; they get an error that says why, and the
    page a notice: not every button shows its error.

    ``others``: further functions of the WebUI that would, each by its module and name.
    """
    ours = threading.get_ident()

    def guarded(call: Callable[..., object]) -> Callable[..., object]:
        def guarded_call(*args: object, **options: object) -> object:
            if threading.get_ident() == ours:
                return call(*args, **options)
            _refuse()

        return guarded_call

    names = ("unload_model_weights", "reload_model_weights", "send_model_to_cpu", "send_model_to_device")
    with ExitStack() as stack:
        # Neo has the first of them alone.
        for module, name in (*((sd_models, name) for name in names if hasattr(sd_models, name)), *others):
            stack.enter_context(replaced(module, {name: guarded(getattr(module, name))}))
        yield


@contextmanager
def settings_locked(keys: Sequence[str]) -> Iterator[None]:
    """Changing one of these settings is refused: it would rebuild the model as soon as the queue is free."""
    with _on_change(keys, _refuse):
        yield


@contextmanager
def settings_deferred(keys: Sequence[str], notice: str = AFTER_TRAINING) -> Iterator[None]:
    """Changing one of these settings shows a notice that it takes effect after the run."""
    with _on_change(keys, lambda: notices.show(notice)):
        yield


def _refuse() -> NoReturn:
    reason = generation_lock.reason()
    notices.show(reason)
    raise RuntimeError(reason)


@contextmanager
def _on_change(keys: Sequence[str], notice: Callable[[], object]) -> Iterator[None]:
    labels = [shared.opts.data_labels[key] for key in keys]
    before = [label.onchange for label in labels]
    try:
        for label in labels:
            label.onchange = notice
        yield
    finally:
        for label, onchange in zip(labels, before, strict=True):
            label.onchange = onchange


@contextmanager
def settings_changed(**values: object) -> Iterator[None]:
    """These settings have other values within this context, unsaved; those that a WebUI lacks do nothing."""
    data = shared.opts.data
    before = {key: data[key] for key in values if key in data}
    data.update(values)
    try:
        yield
    finally:
        for key in values.keys() - before.keys():
            del data[key]
        data.update(before)


@contextmanager
def without_history() -> Iterator[None]:
    """Images drawn meanwhile do not count as the user's last ones, whose parameters the page can restore."""
    before = shared.cmd_opts.no_prompt_history
    shared.cmd_opts.no_prompt_history = True
    try:
        yield
    finally:
        shared.cmd_opts.no_prompt_history = before


@contextmanager
def random_states_restored() -> Iterator[None]:
    """The random states of Python, numpy and torch are restored afterwards."""
    python, array = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient and every module is in eval mode; both are restored afterwards."""
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in required:
            parameter.requires_grad_(False)
        with in_eval_mode(model):
            yield
    finally:
        for parameter, before in required:
            parameter.requires_grad_(before)
            parameter.grad = None


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module is in eval mode; each mode is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def replaced(owner: ModuleType, new: Mapping[str, object]) -> Iterator[None]:
    """The module's attributes are replaced within this context."""
    before = {name: getattr(owner, name) for name in new}
    try:
        for name, value in new.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
