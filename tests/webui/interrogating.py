"""The WebUI's own interrogator as a captioner, run in its Python: ``interrogating.py KIND MODE MODEL OUT DATA``.

Its code as it is. What cannot be had here stands in: BLIP's weights are as they fall, its vocabulary is of numbers,
and CLIP, which a caption does not need, is a single layer.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

KIND, OUT, DATA = sys.argv[1], Path(sys.argv[4]), Path(sys.argv[5])
webui = importlib.import_module(f"inside_{KIND}")

import torch  # noqa: E402
from modules import call_queue, paths, shared  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from transformers import BertTokenizer  # noqa: E402

from lora_scripts_ext.captioning import choose  # noqa: E402
from lora_scripts_ext.captioning.base import CaptionerOptions, CaptionInput  # noqa: E402

_SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
_TOKENS = 30522


def write_blip() -> None:
    """The file that the WebUI would fetch."""
    folder, config = Path(paths.models_path) / "BLIP", Path(paths.paths["BLIP"]) / "configs" / "med_config.json"
    folder.mkdir(parents=True, exist_ok=True)
    model = importlib.import_module("models.blip").blip_decoder(image_size=384, vit="base", med_config=str(config))
    torch.save({"model": model.state_dict()}, folder / "model_base_caption_capfilt_large.pth")


def tokenizer() -> BertTokenizer:
    """As BLIP's ``init_tokenizer``."""
    vocabulary = OUT / "vocabulary.txt"
    vocabulary.write_text("\n".join(_SPECIAL.get(index, f"w{index}") for index in range(_TOKENS)))
    bert = BertTokenizer(str(vocabulary))
    bert.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    bert.enc_token_id = bert.additional_special_tokens_ids[0]
    return bert


def stand_in_for_clip(theirs: object) -> None:
    """So that the WebUI does not fetch one."""
    theirs.clip_model, theirs.clip_preprocess = nn.Linear(1, 1), object()
    if KIND == "forge":
        from backend.patcher.base import ModelPatcher

        theirs.clip_patcher = ModelPatcher(theirs.clip_model, theirs.load_device, theirs.offload_device)


if __name__ == "__main__":
    torch.manual_seed(0)
    theirs = shared.interrogator
    theirs.create_fake_fairscale()
    importlib.import_module("models.blip").init_tokenizer = tokenizer
    write_blip()
    stand_in_for_clip(theirs)
    images = [Image.open(path).convert("RGB") for path in sorted(DATA.glob("*.png"))[:2]]
    captioner = choose.make(CaptionerOptions("interrogate"))
    ours = [captioner.caption([CaptionInput(str(index), one)])[0].subject for index, one in enumerate(images)]
    report = {"ours": ours, "theirs": [theirs.generate_caption(one) for one in images]}
    captioner.close()
    report["devices"] = sorted({str(parameter.device) for parameter in theirs.blip_model.parameters()})
    report["free"] = call_queue.queue_lock.acquire(False) if hasattr(call_queue.queue_lock, "acquire") else True
    print(json.dumps(report))
