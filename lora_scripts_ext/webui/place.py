"""Where things are in this WebUI: the host, the folders, and what may be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modules import paths_internal, sd_models, shared

from ..config import Config
from ..errors import UserError
from ..hosts.base import Host, Inspection
from ..hosts.kind import model_module


def make_host(stop: Callable[[], None]) -> Host:
    """The host of this WebUI; ``stop`` is called when the user presses its Interrupt."""
    return model_module().make(stop)


def listen(event: dict[str, Any]) -> None:
    """Show in the WebUI's own progress how far a run is."""
    from ..hosts.webui import show_progress

    if event["event"] == "step":
        show_progress(event["step"], event["steps"])


def loaded_checkpoint() -> str:
    """Path of the checkpoint the WebUI has loaded, or loads when it is needed; empty where there is none yet."""
    try:
        return model_module().chosen_checkpoint()
    except UserError:
        # Not trained on here, but written into the file that is trained with outside.
        chosen = sd_models.select_checkpoint()
        return str(chosen.filename) if chosen is not None else ""


def require_checkpoint() -> str:
    """Path of the checkpoint the WebUI has loaded.

    Raises:
        UserError: there is none.
    """
    loaded = loaded_checkpoint()
    if not loaded:
        # Where training is not supported a checkpoint would not help.
        model_module()
        raise UserError(
            "No model is loaded yet; choose a Stable Diffusion checkpoint at the top of the page, then try again."
        )
    return loaded


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
    told = flag("lora_trainer_data_dir")
    return Path(told) if told else Path(paths_internal.data_path) / "lora_trainer"


def run_dir(name: str) -> Path:
    """The folder of the run called ``name``."""
    return data_dir() / name


def readable(path: str) -> Path:
    """``path``, made absolute, if the user may have it read.

    Raises:
        UserError: others can reach this WebUI, and it lies outside the folders meant for that.
    """
    found = Path(path).expanduser().resolve()
    if not _open_to_others() or any(found.is_relative_to(root) for root in _roots()):
        return found
    raise UserError(
        f"{found}: this WebUI can be reached by others, so only pictures below {', '.join(map(str, _roots()))} are "
        "read; move them there, or start it with --lora-trainer-allowed-root FOLDER."
    )


def service(address: str) -> str:
    """``address``, if pictures may be sent there.

    Raises:
        UserError: others can reach this WebUI; they must not choose where it sends things.
    """
    if not _open_to_others():
        return address
    raise UserError(
        "This WebUI can be reached by others, so it sends pictures to no service; use auto_label.py --endpoint, or "
        "another captioner."
    )


def _roots() -> list[Path]:
    return [data_dir().resolve(), *(Path(root).resolve() for root in flag("lora_trainer_allowed_root") or [])]


def _open_to_others() -> bool:
    reachable = any(map(flag, ("listen", "share", "ngrok", "server_name")))
    return reachable and not flag("enable_insecure_extension_access")
