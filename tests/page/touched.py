"""Gives every handler of the tab paths that it may not read; prints as JSON what it then looked at on the disk.

``touched.py CHECKPOINT FOLDER LOGIN FLAGS PATHS``, the last a JSON list.
"""

import io
import json
import os
import sys

import serve
import yaml
from fastapi import HTTPException

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.webui import captions, dataset, form, paths, routes, tab

PATHS = json.loads(sys.argv[5])
KEYS = ("train_data_dir", "metadata_path", "reg_data_dir", "mask_dir", "init_lora", "output_name")
ALLOWED = serve.FLAGS["lora_trainer_allowed_root"][0]
seen = []


def watched(module, name):
    call = getattr(module, name)

    def told(path, *args, **options):
        if isinstance(path, str | bytes | os.PathLike):
            seen.append(os.fsdecode(path))
        return call(path, *args, **options)

    setattr(module, name, told)


def values(key, path):
    held = {"train_data_dir": ALLOWED, "output_name": "x", "resolution": "64", key: path}
    return [held.get(name, form.to_field(name, form.configs.default(name))) for name in form.KEYS]


def said(answer):
    """The sentence of a handler, whether it returns or yields it."""
    return str(answer if isinstance(answer, str | tuple | list) else list(answer))


answers = []
for module, names in ((os, ("stat", "lstat", "readlink", "listdir", "scandir", "open")), (io, ("open",))):
    for name in names:
        watched(module, name)
for path in PATHS:
    for key in KEYS:
        told = values(key, path)
        answers += [said(tab._look(*told)), said(tab._start(resume=False)(*told))]
        if key != "output_name":
            answers += [said(tab._import(yaml.safe_dump({"train_data_dir": ALLOWED, "output_dir": path, key: path})))]
        if key in ("train_data_dir", "metadata_path"):
            answers += [said(dataset._check(*told)), said(dataset._leave(*told)), said(dataset._take(*told))]
            answers += [said(dataset._ready(*told, next(iter(dataset._CROPS)), "{name}", False))]
            answers += [said(captions._show(*told, "")), said(captions._save(*told, "", []))]
    try:
        captions._captioner_options("blip", path, "", "", "")
    except UserError as error:
        answers.append(f"lt_bad {error}")
    for asked in (paths.readable, lambda path: routes._png(path + "/a.png", False)):
        try:
            asked(path)
        except (UserError, HTTPException) as error:
            answers.append(f"lt_bad {error}")
print(json.dumps({"seen": seen, "answers": answers}))
