"""Serves the tab under whatever gradio is installed, in a double of the WebUI: ``CHECKPOINT FOLDER LOGIN FLAGS``.

Training runs on the standalone host; with the flag ``strange`` it is a WebUI that the trainer knows nothing of; the
flag ``options`` holds the WebUI's settings. The first line of stdout is the port.
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
STRANGE, OPTIONS = FLAGS.pop("strange", False), FLAGS.pop("options", {})


def double() -> None:
    """What the tab needs of the WebUI's ``modules``."""
    # Not all relatives of the WebUI know the same flags.
    flags = {"listen": False, "share": False, "enable_insecure_extension_access": False} | FLAGS
    shared = {
        "cmd_opts": SimpleNamespace(**flags),
        "opts": SimpleNamespace(**OPTIONS),
        "state": SimpleNamespace(job=""),
    }
    own = {"shared": shared, "paths_internal": {"data_path": str(FOLDER)}, "devices": {"device": "cpu"}}
    parts = {"shared": shared, "paths": {"data_path": str(FOLDER)}} if STRANGE else own
    # Like a package, so that what is not there cannot be imported.
    sys.modules["modules"] = ModuleType("modules")
    sys.modules["modules"].__path__ = []
    for name, values in parts.items():
        part = ModuleType(f"modules.{name}")
        vars(part).update(values)
        sys.modules[part.__name__] = part
        setattr(sys.modules["modules"], name, part)


double()

import gradio  # noqa: E402
from fastapi.responses import JSONResponse  # noqa: E402

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


if not STRANGE:
    paths.make_host = lambda stop: Host()
    paths.listen = lambda event: None
    paths.inspection = inspect
    paths.loaded_checkpoint = lambda: str(CHECKPOINT)
    paths.refuses_training = lambda checkpoint: ""


def scripts_in_the_page() -> None:
    """Put the extension's script and style into the page in the way in which the WebUI does it."""
    original = gradio.routes.templates.TemplateResponse
    scripts = [ROOT / "tests" / "page" / "webui.js", ROOT / "javascript" / "lora_trainer.js"]
    head = "".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in scripts)
    style = (ROOT / "style.css").read_text(encoding="utf-8")

    def response(*arguments: object, **options: object) -> object:
        page = original(*arguments, **options)
        page.body = page.body.replace(b"</head>", f"{head}</head>".encode())
        page.body = page.body.replace(b"</body>", f"<style>{style}</style></body>".encode())
        page.init_headers()
        return page

    gradio.routes.templates.TemplateResponse = response


def webui_page() -> gradio.Blocks:
    """A page with the tabs that the trainer's script looks for, and its own."""
    # As the WebUI does: inside of the whole page's context the tab would be on it twice.
    ((own, title, name),) = tab.build()
    with gradio.Blocks() as blocks, gradio.Tabs(elem_id="tabs"):
        for other in ("txt2img", "img2img"):
            with gradio.TabItem(other, id=other, elem_id=f"tab_{other}"):
                gradio.Textbox(label="Prompt", lines=3, elem_id=f"{other}_prompt")
                gradio.Textbox(label="Negative prompt", lines=3, elem_id=f"{other}_neg_prompt")
                with gradio.Row(elem_id=f"{other}_generate_box"):
                    gradio.Button("Generate", elem_id=f"{other}_generate")
                gradio.HTML(f"<div id='{other}_lora_cards'><p class='nocards'>Nothing here.</p></div>")
        with gradio.TabItem(title, id=name, elem_id=f"tab_{name}"):
            own.render()
    return blocks


def card(page: str, tabname: str, name: str) -> JSONResponse:
    """A card of the WebUI's list of LoRAs."""
    return JSONResponse({"html": f"<div class='card' data-name='{name}'>{page} in {tabname}</div>"})


if __name__ == "__main__":
    scripts_in_the_page()
    blocks = webui_page()
    # gradio announces itself on stdout, and the trainer speaks there.
    with contextlib.redirect_stdout(sys.stderr):
        app, _, _ = blocks.launch(
            server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_api=False, auth=LOGIN,
            root_path=FLAGS.get("subpath", ""),
        )  # fmt: skip
        routes.add(blocks, app)
    app.add_api_route("/sd_extra_networks/get-single-card", card, methods=["GET"])
    print(blocks.server_port, flush=True)
    blocks.block_thread()
