"""The WebUI's own ControlNet: Forge's built-in one, or the extension for AUTOMATIC1111.

Importable only inside a WebUI.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from modules import errors, scripts
from torch import nn

from ... import memory
from ...contract import Control, DrawRequest
from ...errors import Interrupted, UserError
from .. import controlnet
from . import shared_state

_TITLE = "controlnet"
# What ControlNet replaces in a module.
_METHODS = ("forward", "_forward")
_LACKING = (
    "This WebUI has no ControlNet; install the extension sd-webui-controlnet, or leave the control image and the "
    "reference out."
)


def lacks(request: DrawRequest) -> str:
    """Why the request's control image or reference cannot be used, as a sentence; empty where they can."""
    wanted = _controls(request)
    if not wanted:
        return ""
    if _data() is None:
        return _LACKING
    try:
        for control in wanted:
            _unit(control)
    except UserError as error:
        return str(error)
    return ""


@contextmanager
def applied(job: Any, request: DrawRequest) -> Iterator[None]:
    """The WebUI's ``job`` is drawn with the request's control image and reference, and with no other script.

    Raises:
        UserError: ControlNet failed, which the WebUI itself would only log, or the drawing with it.
    """
    wanted = _controls(request)
    if not wanted:
        yield
        return
    script = _script(is_img2img=request.inpainting is not None)
    units = [_unit(control) for control in wanted]
    script.args_from, script.args_to = 0, len(units)
    runner = scripts.ScriptRunner()
    runner.scripts, runner.alwayson_scripts = [script], [script]
    job.scripts, job.script_args = runner, units
    # It takes the seed of its preprocessors from the job, but not from a list of seeds.
    np.random.seed(request.seeds[0] & 0xFFFFFFFF)
    failures: list[str] = []

    def failed(message: str, **_: object) -> None:
        error = sys.exc_info()[1]
        failures.append(message if error is None else _reason(error))

    with shared_state.replaced(errors, {"report": failed}), _hooks_removed(job.sd_model, script):
        try:
            yield
        except (Interrupted, UserError):
            raise
        except Exception as error:
            if memory.ran_out(error):
                raise
            # A model that is not for this base model ends so, as one that cannot be read.
            failures.append(_reason(error))
    if failures:
        raise UserError(
            f"ControlNet could not use the image: {failures[0]}; check that its preprocessor and model belong "
            "together, and that the model is for this base model."
        )


def _reason(error: BaseException) -> str:
    """Of some an exception's text is but a key."""
    kind, text = type(error).__name__, str(error)
    return f"{kind}: {text}"[:300] if text not in ("", "None") else kind


def _controls(request: DrawRequest) -> Sequence[Control]:
    return [control for control in (request.control, request.reference) if control is not None]


def _data() -> Any:
    """What the WebUI knows about ControlNet's script; None where there is none."""
    return next((one for one in scripts.scripts_data if _is_it(one.script_class)), None)


def _is_it(kind: Any) -> bool:
    module = getattr(kind, "__module__", "")
    # Made without its constructor, which may leave traces: a title needs none.
    return "controlnet" in str(module).lower() and kind.title(kind.__new__(kind)).lower() == _TITLE


def _script(is_img2img: bool) -> Any:
    """ControlNet's script, apart from the one that the page works with."""
    page = scripts.scripts_img2img if is_img2img else scripts.scripts_txt2img
    there = next((one for one in page.alwayson_scripts if one.title().lower() == _TITLE), None) if page else None
    data = _data()
    script = copy.copy(there) if there is not None else data.script_class()
    script.filename, script.is_img2img, script.is_txt2img = data.path, is_img2img, not is_img2img
    return script


def _unit(control: Control) -> dict[str, Any]:
    """What ControlNet is given.

    Raises:
        UserError: it has no such preprocessor or model.
    """
    module = _data().module
    models, preprocessors = _models(module.global_state), _preprocessors(module)
    made = controlnet.unit(control)
    made["model"] = controlnet.named(control.model or "none", models)
    made["module"] = controlnet.named(control.preprocessor or "none", preprocessors)
    return made


def _models(state: Any) -> list[str]:
    if hasattr(state, "update_controlnet_filenames"):
        state.update_controlnet_filenames()
        return list(state.get_all_controlnet_names())
    state.update_cn_models()
    return list(state.cn_models)


def _preprocessors(module: Any) -> list[str]:
    state = module.global_state
    if hasattr(state, "get_all_preprocessor_names"):
        return list(state.get_all_preprocessor_names())
    kind = module.Preprocessor
    return [*kind.all_processors, *kind.all_processors_by_name]


@contextmanager
def _hooks_removed(model: Any, script: Any) -> Iterator[None]:
    """The extension for AUTOMATIC1111 puts methods of its own into the UNet, and leaves them there where drawing
    fails."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    before = [{name: vars(module)[name] for name in _METHODS if name in vars(module)} for module in modules]
    try:
        yield
    finally:
        network = getattr(script, "latest_network", None)
        if network is not None:
            network.restore()
        for module, methods in zip(modules, before, strict=True):
            for name in _METHODS:
                vars(module).pop(name, None)
            vars(module).update(methods)
