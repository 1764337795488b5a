"""Gives the trainer paths that it may not read, wherever it takes one; prints as JSON what it then opened or listed.

``touched.py CHECKPOINT FOLDER LOGIN FLAGS PATHS``, the last a JSON list.
"""

import io
import json
import os
import sys
from pathlib import Path

import serve

from lora_scripts_ext import config_check
from lora_scripts_ext.catalogue.settings import Settings
from lora_scripts_ext.catalogue.store import Catalogue
from lora_scripts_ext.config_names import SAME
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs.kinds import registry
from lora_scripts_ext.webui import paths
from lora_scripts_ext.webui.environment import WebUI
from lora_scripts_ext.webui.service import service
from tests import api

PATHS = json.loads(sys.argv[5])
# What a job may be given over the API.
KIND_KEYS = {
    "train": (*config_check.PATHS, "pretrained_model_name_or_path", "network_weights"),
    "caption": ("train_data_dir", "metadata_path", "words", "model"),
    "prepare": ("input", "output_dir"),
    "check": ("train_data_dir", "metadata_path"),
    "generate": ("base_model", "lora", "output_dir"),
    "review": ("base_model", "loras", "output_dir"),
    "catalogue": ("catalogue", "base_model"),
    "catalogue_export": ("catalogue", "output_dir"),
    "comparison": ("specs", "base_model", "output_dir"),
}
ALLOWED = serve.FLAGS["lora_trainer_allowed_root"][0]
SAFE = {
    "train": {"train_data_dir": ALLOWED, "base_model": f"{ALLOWED}/x", "output_dir": f"{ALLOWED}/out"},
    "caption": {"train_data_dir": ALLOWED},
    "prepare": {"input": ALLOWED, "output_dir": f"{ALLOWED}/out"},
    "check": {"train_data_dir": ALLOWED},
    "generate": {"base_model": f"{ALLOWED}/x", "prompts": ["a"]},
    "review": {"base_model": f"{ALLOWED}/x", "prompts": ["a"], "loras": [ALLOWED]},
    "catalogue": {"catalogue": f"{ALLOWED}/catalogue"},
    "catalogue_export": {"catalogue": f"{ALLOWED}/catalogue"},
    "comparison": {"left": {"prompt": "a"}, "right": {"prompt": "b"}, "base_model": f"{ALLOWED}/x"},
}
# What names a file of a catalogue.
CATALOGUE_KEYS = ("source", "rules", "templates", "glossary", "words", "base_model")
opened = []


def watched(module, name):
    call = getattr(module, name)

    def recorded(path, *args, **options):
        if isinstance(path, str | bytes | os.PathLike):
            opened.append(os.fsdecode(path))
        return call(path, *args, **options)

    setattr(module, name, recorded)


def planned(path):
    """What each kind of job says to the path under each of its keys."""
    for kind, keys in KIND_KEYS.items():
        for key in keys:
            safe = {name: value for name, value in SAFE[kind].items() if name != SAME.get(key)}
            config = {**safe, key: [path] if key == "loras" else path}
            try:
                registry.by_name(kind).plan(config, WebUI(), "config")
                yield f"{kind} takes {key}: {path}"
            except UserError as error:
                yield str(error)
    for side in compared(path):
        try:
            registry.by_name("comparison").plan({**SAFE["comparison"], "left": side}, WebUI(), "config")
            yield f"comparison takes {side}"
        except UserError as error:
            yield str(error)


def compared(path):
    """A product of a comparison, with the path wherever it can name one."""
    yield {"photo": path}
    yield {"photo": f"{ALLOWED}/x.png", "mask": path}
    yield {"prompt": "a", "loras": [{"file": path}]}
    yield {"catalogue": path, "product": "A"}


def requested(client, model, catalogue, path):
    """What the routes say to it."""
    for method, address, body in (
        ("POST", "models", {"name": "outside", "kind": "product", "folder": path}),
        ("POST", "estimate", {"config": {**SAFE["train"], "train_data_dir": path}}),
        ("POST", "jobs", {"kind": "check", "config": {"train_data_dir": path}}),
        ("PUT", f"models/{model}/watch", {"folder": path}),
        *(("POST", "catalogues", {key: path}) for key in CATALOGUE_KEYS),
        ("POST", "catalogues", {"channels": [path]}),
        ("POST", "catalogues/check", {"products": [], "rules": path}),
        ("PATCH", f"catalogues/{catalogue}", {"source": path}),
        ("POST", f"catalogues/{catalogue}/export", {"output_dir": path}),
        ("POST", f"catalogues/{catalogue}/feedback", {"folder": path}),
    ):
        yield f"{address}: {client.send(method, address, body).body.decode()}"


outputs = []
with api.serving(service().api) as client:
    inside = {"name": f"inside {os.getpid()}", "kind": "product", "folder": ALLOWED}
    model = client.post("models", inside).json["id"]
    catalogue = client.post("catalogues", {"name": "inside"}).json["id"]
    if not (Path(ALLOWED) / "catalogue").exists():
        Catalogue.create(Path(ALLOWED) / "catalogue", Settings()).close()
    for module, names in ((os, ("stat", "lstat", "readlink", "listdir", "scandir", "open")), (io, ("open",))):
        for name in names:
            watched(module, name)
    for path in PATHS:
        outputs += [*planned(path), *requested(client, model, catalogue, path)]
        try:
            outputs.append(f"readable: {paths.readable(path)}")
        except UserError as error:
            outputs.append(str(error))
print(json.dumps({"opened": opened, "outputs": outputs}))
