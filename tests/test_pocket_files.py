"""What the pocket model's tools write."""

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image

from pocket import vae

ROOT = Path(__file__).resolve().parent.parent
OURS = ["pocket", *(f"lora_scripts_ext/{name}" for name in (
    "webui", "preparation", "hosts", "captioning", "captions", "images", "jobs", "dataset", "models", "commands",
))]  # fmt: skip


def test_a_brand_is_written_with_its_table(tmp_path, monkeypatch):
    # The renderer of the icons; only those who make the images have it installed.
    monkeypatch.setitem(sys.modules, "resvg_py", ModuleType("resvg_py"))
    brand = importlib.import_module("pocket.brand")
    monkeypatch.setattr(brand.art, "draw", lambda *_: np.zeros((8, 8, 4), np.uint8))
    folder = tmp_path / "brand"
    brand.write(folder, ["bell", "key"], {}, True, look=lambda drawing: Image.new("RGB", (8, 8), "red"))
    assert (folder / "metadata.csv").read_bytes().splitlines()[0] == b"filename,prompt"
    written_files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written_files == {"metadata.csv", "bell.png", "key.png", "masks/bell.png", "masks/key.png"}
    assert Image.open(folder / "key.png").format == "PNG"


def test_weights_are_written_completely(tmp_path):
    model = torch.nn.Linear(2, 3)
    vae.save(model, tmp_path / "work" / "vae.pt")
    assert torch.equal(torch.load(tmp_path / "work" / "vae.pt")["weight"], model.weight)


def test_nothing_writes_a_file_but_by_files_py():
    """A file that is opened for writing in place can be left half written."""
    calls = []
    for path in sorted(one for folder in OURS for one in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                modes = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                written = node.func.attr in ("write_text", "write_bytes") and owner != "files"
                opened = node.func.attr == "open" and any(set(mode) <= set("wxab+t") for mode in modes)
                moved = owner == "shutil" and node.func.attr in ("move", "copy", "copy2", "copytree")
                if (written or moved or opened) and "temporary" not in ast.unparse(node):
                    calls.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert calls == []
