"""Gives every handler of the tab paths that it may not read; prints as JSON what it then opened or listed.

``touched.py CHECKPOINT FOLDER LOGIN FLAGS PATHS``, the last a JSON list.
"""

import io
import json
import os
import sys

import serve
import yaml
from fastapi import HTTPException

from lora_scripts_ext import config_check
from lora_scripts_ext.config_names import SAME
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs.kinds import registry
from lora_scripts_ext.webui import captions, dataset, form, paths, routes, tab
from lora_scripts_ext.webui.environment import WebUI

PATHS = json.loads(sys.argv[5])
KEYS = ("train_data_dir", "metadata_path", "reg_data_dir", "mask_dir", "init_lora", "output_name")
# What a job may be given over the API.
KIND_KEYS = {
    "train": (*config_check.PATHS, "pretrained_model_name_or_path", "network_weights"),
    "caption": ("train_data_dir", "metadata_path", "words", "model"),
    "prepare": ("input", "output_dir"),
    "check": ("train_data_dir", "metadata_path"),
    "generate": ("base_model", "lora", "output_dir"),
    "review": ("base_model", "loras", "output_dir"),
}
ALLOWED = serve.FLAGS["lora_trainer_allowed_root"][0]
SAFE = {
    "train": {"train_data_dir": ALLOWED, "base_model": f"{ALLOWED}/x", "output_dir": f"{ALLOWED}/out"},
    "caption": {"train_data_dir": ALLOWED},
    "prepare": {"input": ALLOWED, "output_dir": f"{ALLOWED}/out"},
    "check": {"train_data_dir": ALLOWED},
    "generate": {"base_model": f"{ALLOWED}/x", "prompts": ["a"]},
    "review": {"base_model": f"{ALLOWED}/x", "prompts": ["a"], "loras": [ALLOWED]},
}
opened = []


def watched(module, name):
    call = getattr(module, name)

    def recorded(path, *args, **options):
        if isinstance(path, str | bytes | os.PathLike):
            opened.append(os.fsdecode(path))
        return call(path, *args, **options)

    setattr(module, name, recorded)


def values(key, path):
    held = {"train_data_dir": ALLOWED, "output_name": "x", "resolution": "64", key: path}
    return [held.get(name, form.to_field(name, form.configs.default(name))) for name in form.KEYS]


def text_of(output):
    """The sentence of a handler, whether it returns or yields it."""
    return str(output if isinstance(output, str | tuple | list) else list(output))


outputs = []
for module, names in ((os, ("stat", "lstat", "readlink", "listdir", "scandir", "open")), (io, ("open",))):
    for name in names:
        watched(module, name)
for path in PATHS:
    for key in KEYS:
        fields = values(key, path)
        outputs += [text_of(tab._look(*fields)), text_of(tab._start(*fields))]
        if key != "output_name":
            config = {"train_data_dir": ALLOWED, "output_dir": path, key: path}
            outputs += [text_of(tab._import(yaml.safe_dump(config)))]
        if key in ("train_data_dir", "metadata_path"):
            outputs += [text_of(handler(*fields)) for handler in (dataset._check, dataset._leave, dataset._take)]
            outputs += [text_of(dataset._ready(*fields, next(iter(dataset._CROPS)), "{name}", False))]
            outputs += [text_of(captions._show(*fields, "")), text_of(captions._save(*fields, "", []))]
    for kind, keys in KIND_KEYS.items():
        for key in keys:
            safe = {name: value for name, value in SAFE[kind].items() if name != SAME.get(key)}
            config = {**safe, key: [path] if key == "loras" else path}
            try:
                registry.by_name(kind).plan(config, WebUI(), "config")
                outputs.append(f"{kind} takes {key}: {path}")
            except UserError as error:
                outputs.append(f"lt_bad {error}")
    try:
        captions._captioner_options("blip", path, "", "", "")
    except UserError as error:
        outputs.append(f"lt_bad {error}")
    for function in (paths.readable, lambda path: routes._png(path + "/a.png", False)):
        try:
            function(path)
        except (UserError, HTTPException) as error:
            outputs.append(f"lt_bad {error}")
print(json.dumps({"opened": opened, "outputs": outputs}))
