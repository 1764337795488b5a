"""Tiny captioning models with random weights, as the hub lays them out."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    BartTokenizer,
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

from . import models

_VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
_TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_SIDE = {"height": 32, "width": 32}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "red", "blue", "cup", "on", "table"]
CLASSES = {0: "teapot, kettle", 1: "screwdriver", 2: "sofa"}


def write_blip(folder: Path) -> Path:
    """A BLIP with a vocabulary of 13 tokens."""
    torch.manual_seed(1)
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    text = {**_TEXT, "vocab_size": len(VOCABULARY), "max_position_embeddings": 64, "bos_token_id": 5, "eos_token_id": 3}
    text |= {"sep_token_id": 3, "pad_token_id": 0, "encoder_hidden_size": 16, "is_decoder": True}
    config = BlipConfig(text_config=text, vision_config=_VISION, projection_dim=16)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    BlipProcessor(BlipImageProcessor(size=_SIDE), tokenizer).save_pretrained(folder)
    return folder


def write_vit(folder: Path) -> Path:
    """A classifier of three classes."""
    torch.manual_seed(2)
    config = ViTConfig(**_VISION, id2label=CLASSES, label2id={name: index for index, name in CLASSES.items()})
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size=_SIDE).save_pretrained(folder)
    return folder


def write_florence(folder: Path) -> Path:
    """A Florence-2 that reads and writes single bytes."""
    from transformers import Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    torch.manual_seed(4)
    folder.mkdir(parents=True)
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *bytes_to_unicode().values()]
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    tokenizer = BartTokenizer(*files, extra_special_tokens={"image_token": "<image>"})
    text = {"vocab_size": len(tokenizer), "d_model": 16, "max_position_embeddings": 256, "decoder_start_token_id": 2}
    text |= {f"{side}_{name}": count for side in ("encoder", "decoder") for name, count in
             {"layers": 1, "attention_heads": 2, "ffn_dim": 16}.items()}  # fmt: skip
    stages = {"depths": (1,) * 4, "embed_dim": (8, 8, 16, 16), "num_heads": (2,) * 4, "num_groups": (2,) * 4}
    vision = {**stages, "window_size": 4, "projection_dim": 16, "max_position_embeddings": 10}
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=tokenizer.image_token_id)
    Florence2ForConditionalGeneration(config).save_pretrained(folder)
    side = {"height": 64, "width": 64}
    images = CLIPImageProcessor(size=side, crop_size=side, do_center_crop=False)
    # 64 pixels are 2 x 2 cells after four stages, and one for their mean.
    images.image_seq_length = 5
    Florence2Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def write_clip(folder: Path) -> Path:
    """A CLIP with the tokenizer of the tests."""
    torch.manual_seed(3)
    tokenizer = CLIPTokenizer.from_pretrained(str(models.TOKENIZER))
    text = {**_TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 77, "projection_dim": 16}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    CLIPModel(CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=16)).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessor(size=_SIDE, crop_size=_SIDE), tokenizer).save_pretrained(folder)
    return folder


def write_wd14(folder: Path) -> Path:
    """A tagger whose tags red, green and blue have the mean of that channel as their probability."""
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir(parents=True)
    rows = ["tag_id,name,category,count", "0,general,9,1", "1,very_blue,0,1", "2,green,0,1", "3,mr_red,4,1"]
    (folder / "selected_tags.csv").write_text("\n".join(rows))
    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 32, 32, 3])
    tags = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 4])
    values = {"axes": ("axes", TensorProto.INT64, [2], [1, 2]), "white": ("white", TensorProto.FLOAT, [1], [255.0])}
    values["to_tags"] = ("to_tags", TensorProto.FLOAT, [3, 4], [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    # The rating has a high probability, and must not become a caption.
    values["rating"] = ("rating", TensorProto.FLOAT, [1, 4], [0.99, 0, 0, 0])
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["share"]),
        helper.make_node("MatMul", ["share", "to_tags"], ["tags"]),
        helper.make_node("Add", ["tags", "rating"], ["output"]),
    ]
    constants = [helper.make_tensor(*arguments) for arguments in values.values()]
    graph = helper.make_graph(nodes, "tagger", [pixels], [tags], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return folder
