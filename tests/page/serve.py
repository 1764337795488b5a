"""Serves the tab under whatever gradio is installed, in a double of the WebUI: ``CHECKPOINT FOLDER LOGIN FLAGS``.

Training runs on the standalone host. The first line of stdout is the port.
"""

from __future__ import annotations

import contextlib
import json
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CHECKPOINT, FOLDER = (Path(name).resolve() for name in sys.argv[1:3])
LOGIN, FLAGS = tuple(sys.argv[3].split(":")) if sys.argv[3] else None, json.loads(sys.argv[4])


def double() -> None:
    """What the tab needs of the WebUI's ``modules``."""
    # Not all relatives of the WebUI know the same flags.
    flags = {"listen": False, "share": False, "enable_insecure_extension_access": False} | FLAGS
    parts = {
        "shared": {"cmd_opts": SimpleNamespace(**flags), "opts": SimpleNamespace(), "state": SimpleNamespace(job="")},
        "paths_internal": {"data_path": str(FOLDER)},
        "sd_models": {},
        "devices": {"device": "cpu"},
    }
    sys.modules["modules"] = ModuleType("modules")
    for name, values in parts.items():
        part = ModuleType(f"modules.{name}")
        vars(part).update(values)
        sys.modules[part.__name__] = part
        setattr(sys.modules["modules"], name, part)


double()

import gradio  # noqa: E402

from lora_scripts_ext.config import Config  # noqa: E402
from lora_scripts_ext.contract import Session  # noqa: E402
from lora_scripts_ext.hosts.standalone.host import StandaloneHost  # noqa: E402
from lora_scripts_ext.hosts.standalone.inspection import inspect  # noqa: E402
from lora_scripts_ext.webui import paths, routes, tab  # noqa: E402


class Host:
    """The standalone host, with a LoRA folder as a WebUI has one."""

    def open(self, config: Config) -> AbstractContextManager[Session]:
        """The model of the file."""
        return StandaloneHost().open(config)

    def lora_dir(self) -> Path:
        """A folder of the double."""
        folder = FOLDER / "Lora"
        folder.mkdir(exist_ok=True)
        return folder

    def publish(self, lora: Path) -> None:
        """No one lists it."""


paths.make_host = lambda stop: Host()
paths.listen = lambda event: None
paths.inspection = inspect
paths.loaded_checkpoint = lambda: str(CHECKPOINT)

if __name__ == "__main__":
    # As the WebUI does: inside of the whole page's context the tab would be on it twice.
    tabs = tab.build()
    with gradio.Blocks() as blocks:
        for page, title, name in tabs:
            with gradio.Tabs(), gradio.TabItem(title, id=name):
                page.render()
    # As the WebUI does; open, so that tests can call what is on the page.
    blocks.queue(api_open=True)
    # gradio announces itself on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        app, _, _ = blocks.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_api=False, auth=LOGIN
        )
    routes.add(blocks, app)
    print(blocks.server_port, flush=True)
    blocks.block_thread()
