"""Runs the WebUI's script with a package that cannot be imported; prints what its tab then shows, as JSON."""

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

tabs = []
modules, callbacks = ModuleType("modules"), SimpleNamespace(on_ui_tabs=tabs.append)
modules.script_callbacks = callbacks
sys.modules |= {"modules": modules, "modules.script_callbacks": callbacks, "lora_scripts_ext.webui": None}
runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "lora_trainer.py"))
[(blocks, title, _)] = tabs[0]()
texts = [part["props"].get("value") for part in blocks.get_config_file()["components"]]
print(json.dumps({"title": title, "texts": texts}))
