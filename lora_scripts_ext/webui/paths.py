"""Where things are in this WebUI: the host, the folders, and what may be read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modules import shared

from ..config import Config
from ..contract import Host, Inspection
from ..errors import UserError
from ..hosts.webui.which import model_module
from ..jobs import lanes as job_lanes
from ..jobs.environment import HUB_NAME, is_network


def make_host(stop: Callable[[], None]) -> Host:
    """The host of this WebUI; ``stop`` is called when the user presses its Interrupt."""
    return model_module().make(stop)


def listen(event: dict[str, Any]) -> None:
    """Show in the WebUI's own progress how far a run is."""
    if event["event"] == "step":
        # Not every WebUI in which jobs run has what that needs; those in which trainings do have it.
        from ..hosts.webui.shared_state import show_progress

        show_progress(event["step"], event["steps"])


def lanes() -> list[str]:
    """Where jobs run in this WebUI: on its device, and beside that those that only handle files."""
    try:
        from modules import devices
    except ImportError:
        # A WebUI that we do not know; no training runs there.
        device = "cpu"
    else:
        device = str(devices.device)
    return [job_lanes.lane("cuda:0" if device == "cuda" else device), job_lanes.lane(job_lanes.FILES)]


def print_line(text: str) -> None:
    """A line in the WebUI's console."""
    print(f"LoRA Trainer: {text}", flush=True)


def loaded_checkpoint() -> str:
    """Path of the checkpoint the WebUI has loaded, or loads when it is needed; empty where there is none yet, or in a
    WebUI that jobs cannot train in."""
    try:
        return model_module().chosen_checkpoint()
    except UserError:
        return ""


def refuses_training(checkpoint: str) -> str:
    """Why no training on ``checkpoint`` (empty: none is named) can be queued, as a sentence; empty where it can."""
    try:
        model_module()
    except UserError as error:
        return str(error)
    return "" if checkpoint else "No checkpoint is chosen; choose one at the top of the WebUI's page, then try again."


def waiting_tasks() -> list[str]:
    """What the WebUI calls the tasks that wait because a job has its model."""
    try:
        from modules import progress

        from ..hosts.webui.generation_lock import held
    except ImportError:
        return []
    return list(progress.pending_tasks) if held() else []


def inspection(config: Config) -> Inspection:
    """What foretelling a run needs of the model that is loaded; one must be.

    Raises:
        UserError: it cannot be trained on.
    """
    return model_module().inspection(config)


def flag(name: str) -> Any:
    """What the WebUI was started with; None where this one knows no such flag."""
    return getattr(shared.cmd_opts, name, None)


def data_dir() -> Path:
    """Where runs keep their files."""
    folder = flag("lora_trainer_data_dir")
    return Path(folder) if folder else _webui_data_dir() / "lora_trainer"


def _webui_data_dir() -> Path:
    try:
        from modules import paths_internal as paths
    except ImportError:
        # Not all relatives of the WebUI have both.
        from modules import paths
    return Path(paths.data_path)


def lora_dir() -> Path:
    """Where the WebUI lists LoRAs; the data folder in one that cannot be trained in."""
    try:
        return make_host(lambda: None).lora_dir()
    except UserError:
        return data_dir()


def relist(changed: Path | None = None) -> None:
    """Let the WebUI list LoRAs again, and forget what an older file in the place of ``changed`` has left in memory;
    without effect in one whose list is not known."""
    # Not every relative of the WebUI has what that needs, and its Lora extension can be switched off.
    with contextlib.suppress(ImportError, KeyError, AttributeError, UserError):
        from ..hosts.webui import shared_state
        from ..hosts.webui.generation_lock import held

        if changed is None or held():
            # While a model is trained no LoRA is in its weights; afterwards the file is read by its modification time.
            shared_state.publish()
        else:
            model_module().make(lambda: None).republish(changed)


def readable(path: str) -> Path:
    """``path``, made absolute, if the user may have it read; no file is looked at before that is known.

    Raises:
        UserError: others can reach this WebUI, and it lies outside the folders meant for that.
    """
    absolute = _absolute(path)
    if not _open_to_others():
        return absolute
    if _below(absolute, _roots()) or (not is_network(str(absolute)) and _below(absolute, _real_roots())):
        real = absolute.resolve()
        # A link may lead elsewhere.
        if _below(real, _real_roots()):
            return real
    raise UserError(
        f"{absolute}: this WebUI can be reached by others, so only images below {', '.join(map(str, _roots()))} are "
        "read; move them there, or start it with --lora-trainer-allowed-root FOLDER."
    )


def roots() -> list[Path]:
    """The folders below which users may have files read; empty where they may everywhere."""
    return _roots() if _open_to_others() else []


def captioner_model(model: str) -> str:
    """A captioner's model: its name on the hub, or a folder, made absolute, that the user may have read.

    Raises:
        UserError: it is a folder that may not be read.
    """
    by_name = not _open_to_others() or HUB_NAME.fullmatch(model)
    return model if not model or (by_name and not Path(model).is_dir()) else str(readable(model))


def service(address: str) -> str:
    """``address``, if images may be sent there.

    Raises:
        UserError: others can reach this WebUI; they must not choose where it sends things.
    """
    if not _open_to_others():
        return address
    raise UserError(
        "This WebUI can be reached by others, so it sends images to no service; use auto_label.py --endpoint, or "
        "another captioner."
    )


def _absolute(path: str) -> Path:
    """``path`` without ``~`` and ``..``, by its letters alone.

    Raises:
        UserError: no file can have this name.
    """
    if "\0" in path:
        raise UserError(f"{path!r}: no file has such a name; correct it.")
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111 - pathlib would follow links


def _below(path: Path, roots: list[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _roots() -> list[Path]:
    """The folders that are read where others can reach the WebUI, as they were named."""
    return [_absolute(str(root)) for root in (data_dir(), *(flag("lora_trainer_allowed_root") or []))]


def _real_roots() -> list[Path]:
    return [root.resolve() for root in _roots()]


def _open_to_others() -> bool:
    reachable = any(map(flag, ("listen", "share", "ngrok", "server_name")))
    return reachable and not flag("enable_insecure_extension_access")
