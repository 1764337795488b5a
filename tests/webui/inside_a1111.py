"""What is A1111's own in ``inside.py``: how it is booted without its page, and what of its model could be changed."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKPOINT, OUT = (Path(name).resolve() for name in sys.argv[3:5])
FLAGS = [
    "--use-cpu", "all", "--no-half", "--skip-torch-cuda-test", "--skip-prepare-environment", "--skip-version-check",
    "--no-download-sd-model", "--skip-load-model-at-start", "--disable-console-progressbars",
]  # fmt: skip
sys.argv = ["launch.py", *FLAGS, "--data-dir", str(OUT / "webui"), "--ckpt", str(CHECKPOINT), *sys.argv[6:]]
sys.path[:0] = [str(Path.cwd()), str(Path(__file__).resolve().parents[2])]

from modules import initialize  # noqa: E402

initialize.imports()
initialize.initialize()

import open_clip  # noqa: E402
import torch  # noqa: E402
from modules import script_callbacks, sd_hijack, shared  # noqa: E402
from torch import nn  # noqa: E402

from lora_scripts_ext.hosts.webui.a1111.host import A1111Host as Host  # noqa: E402, F401
from lora_scripts_ext.hosts.webui.a1111.host import inspection  # noqa: E402, F401
from lora_scripts_ext.hosts.webui.a1111.session import A1111Session as Session  # noqa: E402

#: merged LoRAs leave the weights where they are
MOVED_BY_MERGING: tuple[str, ...] = ()
MOVED_BY_LOADING: tuple[str, ...] = ()

# What registers the Lora extension's tag, among others; the launcher does it before it builds the page.
script_callbacks.before_ui_callback()
if (CHECKPOINT.parent / "open_clip").is_dir():
    open_clip.add_model_config(CHECKPOINT.parent / "open_clip")


def roots() -> list[nn.Module]:
    """The modules that hold the model."""
    return [shared.sd_model]


def on_the_fly() -> int:
    """The layers that take a LoRA into account when they are used: A1111 merges all."""
    return 0


def vae_levels() -> int:
    """How often the VAE halves a side, plus one."""
    return shared.sd_model.first_stage_model.encoder.num_resolutions


def guidance_options() -> dict[str, object]:
    """Guidance settings of txt2img."""
    return {"cfg_scale": 7.0}


def own_state() -> dict[str, str]:
    """What only A1111 has and a run could leave changed."""
    modules = list(shared.sd_model.modules())
    return {
        "backups": str(sum(getattr(module, "network_weights_backup", None) is not None for module in modules)),
        "attention": str(sd_hijack.current_optimizer and sd_hijack.current_optimizer.title()),
    }


def merge(session: Session, lora: Path) -> int:
    """Merge a listed LoRA as a prompt would; returns how many layers A1111 finds for it."""
    nets = sys.modules["networks"]
    nets.load_networks([lora.stem], [1.0], [1.0], [None])
    for module in shared.sd_model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
            with torch.no_grad():
                nets.network_apply_weights(module)
    return len(nets.loaded_networks[0].modules)
