"""Captions -> token numbers, as CLIP and T5 were trained on them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from ..errors import UserError

SHIPPED = Path(__file__).parents[1] / "assets" / "clip_tokenizer"
SHIPPED_T5 = Path(__file__).parents[1] / "assets" / "t5_tokenizer"
#: as many of T5's tokens does Flux read
FLUX_TOKENS = 256
# The bytes, each also as the end of a word, start and end.
_OF_NO_MERGE = 2 * 256 + 2
_log = logging.getLogger(__name__)


class Tokenizer:
    """CLIP's byte-pair encoding: start, at most ``length - 2`` tokens, end, padding.

    Attributes:
        cut: the captions that were too long and lost their tail.
    """

    def __init__(self, clip: CLIPTokenizer, pad: int | None, length: int) -> None:
        """Take transformers' tokenizer.

        Args:
            clip: the vocabulary.
            pad: token to pad with; None takes the tokenizer's own.
            length: tokens of a row, the text encoder's positions (77).
        """
        self._clip = clip
        self._pad = clip.pad_token_id if pad is None else pad
        self._length = length
        self.cut: set[str] = set()

    @classmethod
    def read(cls, folder: Path, pad: int | None, length: int, vocabulary: int) -> Tokenizer:
        """A tokenizer from files.

        Args:
            folder: with ``vocab.json`` and ``merges.txt``.
            pad: token to pad with; None takes the tokenizer's own.
            length: tokens of a row.
            vocabulary: rows of the text encoder's token embedding.

        Raises:
            UserError: the files are missing or damaged, or belong to another vocabulary.
        """
        clip = _load(folder)
        if len(clip) != vocabulary:
            raise UserError(
                f"{folder}: this tokenizer has {len(clip)} tokens, the base model's text encoder {vocabulary}; "
                "set text_model_dir to the folder with the model's own vocab.json and merges.txt."
            )
        return cls(clip, pad, length)

    @classmethod
    def shipped(cls) -> Tokenizer:
        """CLIP's own, for counting where no model is loaded."""
        return cls(_load(SHIPPED), None, 77)

    def count(self, caption: str) -> int:
        """Tokens of a caption, without start and end."""
        return len(self._clip(caption, add_special_tokens=False, verbose=False).input_ids)

    @property
    def end(self) -> int:
        """The end token; the first in a row closes the caption."""
        return self._clip.eos_token_id

    @property
    def room(self) -> int:
        """Tokens of a row between its start and its end."""
        return self._length - 2

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Token numbers, int64 [captions, length] on the CPU."""
        return torch.tensor([self._row(caption) for caption in captions])

    def _row(self, caption: str) -> list[int]:
        room = self.room
        tokens = self._clip(caption, add_special_tokens=False, verbose=False).input_ids
        if len(tokens) > room and caption not in self.cut:
            if not self.cut:
                _log.warning(
                    "A caption has %d tokens; the text encoder reads the first %d: %s", len(tokens), room, caption
                )
            self.cut.add(caption)
        row = [self._clip.bos_token_id, *tokens[:room], self.end]
        return row + [self._pad] * (self._length - len(row))


class T5Tokenizer:
    """Captions -> token numbers of Flux's T5: an end token, padding to 256, no start.

    Attributes:
        cut: the captions that were too long and lost their tail.
    """

    end = 1
    room = FLUX_TOKENS - 1
    _pad = 0

    def __init__(self, t5: Any) -> None:
        """Take transformers' tokenizer."""
        self._t5 = t5
        self.cut: set[str] = set()

    @classmethod
    def read(cls, folder: Path, vocabulary: int) -> T5Tokenizer:
        """A tokenizer from ``tokenizer.json`` in ``folder``; ``vocabulary`` are the rows of T5's token embedding.

        Raises:
            UserError: the file is missing or damaged, or has more tokens than the embedding.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(
                f"{folder}: tokenizer.json, T5's tokenizer, is not in this folder; download the model again."
            )
        try:
            t5 = PreTrainedTokenizerFast(tokenizer_file=str(path))
        # The library raises plain Exceptions for a file that it cannot read.
        except Exception as error:
            raise UserError(f"{path}: T5's tokenizer cannot be read ({error}); download it again.") from error
        if len(t5) > vocabulary:
            raise UserError(
                f"{folder}: this tokenizer has {len(t5)} tokens, the base model's T5 {vocabulary}; take the tokenizer "
                "of the same model."
            )
        return cls(t5)

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Token numbers, int64 [captions, 256] on the CPU."""
        return torch.tensor([self._row(caption) for caption in captions])

    def _row(self, caption: str) -> list[int]:
        tokens = self._t5(caption, truncation=False, add_special_tokens=False).input_ids
        if len(tokens) > self.room:
            self.cut.add(caption)
        row = [*tokens[: self.room], self.end]
        return row + [self._pad] * (FLUX_TOKENS - len(row))


@lru_cache(maxsize=4)
def _load(folder: Path) -> CLIPTokenizer:
    if not ((folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()):
        raise UserError(
            f"{folder}: vocab.json and merges.txt of a CLIP tokenizer are not in this folder; check the path."
        )
    try:
        _require_merges(folder)
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(f"{folder}: the tokenizer files cannot be read ({error}); download them again.") from error


def _require_merges(folder: Path) -> None:
    """Every token that is longer than a byte comes of a merge: with too few of them words would be cut up wrongly.

    Raises:
        ValueError: a merge is not two tokens, or some are missing.
    """
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [line.split() for line in lines[1:] if line.strip()]
    if any(len(pair) != 2 for pair in merges):
        raise ValueError("a line of merges.txt is not two tokens")
    tokens = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    if tokens - _OF_NO_MERGE > len(merges):
        raise ValueError(f"merges.txt has {len(merges)} lines, too few for the {tokens} tokens of vocab.json")
