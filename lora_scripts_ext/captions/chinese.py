"""Whether text that was decoded as GBK is Chinese: bytes of many other encodings decode as GBK, too, into nonsense.

Only the characters of GB 2312 count: two bytes of 0xA1 and above, which a lone accented letter of a Western European
encoding or a kana of Shift-JIS never gives. Korean, Japanese, Russian or Thai words can give such characters, but
hardly ever two that stand together in a Chinese word; of random pairs of common characters 0.3 % do.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

_PAIRS = Path(__file__).parents[1] / "assets" / "chinese" / "pairs.txt"
_RUN = re.compile("[\u4e00-\u9fff]+")
_FIRST, _LAST_COMMON, _LAST = 0xB0, 0xD7, 0xF7
_PUNCTUATION = frozenset("、。·—～…‘’“”〔〕〈〉《》「」『』【】〖〗±×÷℃°￥　℅")
_FULL_WIDTH = range(0xFF01, 0xFF5F)
# Beyond are emoji, four bytes in GB 18030.
_LAST_PLAIN = "\uffff"
# Of the pairs of neighbours in product captions about 60 % are known. The fewer there are, the more of them must be.
_SHARES = ((2, 1.0), (4, 0.5))
_SHARE = 0.3


def plausible(text: str) -> bool:
    """Whether ``text`` can be nothing but simplified Chinese, with or without Latin in between.

    A single character is not enough, nor is a text with characters that are rare or not Chinese; such a text may
    well be right, and is refused all the same.
    """
    if any(not char.isascii() and not _expected(char) for char in set(text)):
        return False
    known = total = 0
    for run in _RUN.findall(text):
        pairs = [run[index : index + 2] in _pairs() for index in range(len(run) - 1)]
        # A rare character counts only in company that is known.
        for index, char in enumerate(run):
            if not _common(char) and not any(pairs[max(0, index - 1) : index + 1]):
                return False
        known, total = known + sum(pairs), total + len(pairs)
    share = next((share for most, share in _SHARES if total <= most), _SHARE)
    return known >= max(1, total * share)


def _expected(char: str) -> bool:
    return char in _PUNCTUATION or char > _LAST_PLAIN or ord(char) in _FULL_WIDTH or _FIRST <= _row(char) <= _LAST


def _common(char: str) -> bool:
    return _row(char) <= _LAST_COMMON


@lru_cache(maxsize=1 << 14)
def _row(char: str) -> int:
    """The first byte of a character in GB 2312; 0 where it has none."""
    try:
        return char.encode("gb2312")[0]
    except UnicodeEncodeError:
        return 0


@lru_cache(maxsize=1)
def _pairs() -> frozenset[str]:
    """Pairs of characters that stand together in a word: a line holds a first character, then all second ones."""
    lines = _PAIRS.read_text(encoding="utf-8").splitlines()
    return frozenset(line[0] + second for line in lines for second in line[1:])
