"""The pocket text encoder and its tokenizer: CLIP's byte-level BPE cut down to the merges the captions need."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lora_scripts_ext import files

START, END = "<|startoftext|>", "<|endoftext|>"
GENERAL = 1000  # of CLIP's merges, kept whatever the captions are


def byte_letters() -> list[str]:
    """The 256 letters that stand for the bytes, in CLIP's order: printable bytes first, then the others from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(0x100 + n) for n in range(256 - len(printable))]


def merge(word: str, ranks: dict[tuple[str, str], int]) -> tuple[list[str], list[tuple[str, str]]]:
    """Byte-pair encode one lower-case ASCII word: (its tokens, the merges that were used)."""
    parts, used = [*word[:-1], word[-1] + "</w>"], []
    while len(parts) > 1:
        best = min(itertools.pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        used.append(best)
        joined, index = [], 0
        while index < len(parts):
            pair = tuple(parts[index : index + 2])
            joined.append("".join(pair) if pair == best else parts[index])
            index += 2 if pair == best else 1
        parts = joined
    return parts, used


def write_tokenizer(folder: Path, merges_file: Path, words: set[str]) -> None:
    """Write the cut-down tokenizer into *folder*, with merges added at the end that make each of *words* one token.

    merges_file: CLIP's ``bpe_simple_vocab_16e6.txt.gz`` (MIT), as the open_clip_torch package carries it.
    """
    lines = gzip.decompress(merges_file.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    splits = {word: merge(word, ranks) for word in sorted(words)}
    needed = {pair for _, used in splits.values() for pair in used}
    kept = [pair for rank, pair in enumerate(merges) if rank < GENERAL or pair in needed]
    for parts, _ in splits.values():
        heads = itertools.accumulate(parts[:-1])
        kept += [pair for pair in zip(heads, parts[1:], strict=True) if pair not in kept]
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in kept), START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    save(folder / "vocab.json", vocabulary)
    files.write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in kept))
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    save(folder / "special_tokens_map.json", special)
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "errors": "replace"}
    save(folder / "tokenizer_config.json", settings | special)


def save(path: Path, value: object) -> None:
    """Write *value* as JSON with a line break at the end."""
    files.write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def build(tokenizer: CLIPTokenizer, width: int = 128, layers: int = 2) -> CLIPTextModel:
    """A fresh CLIP text model with 2 heads over the tokenizer's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        hidden_act="quick_gelu",
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def ids(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token numbers of *captions*, [count, 77] int64, padded as Stable Diffusion does."""
    return tokenizer(captions, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
