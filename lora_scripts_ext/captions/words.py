"""Whether decoded text has words as people write them, or letters thrown together by a wrong encoding.

Two accented letters in a row, as in Polish ``PÓŁNOCNA`` saved by Windows, or a Chinese character in GBK can be valid
UTF-8 by chance; what comes out then are letters of two scripts in one word, or letters that hardly any language uses.
"""

from __future__ import annotations

import re
import unicodedata

# So many letters are never valid by chance.
_SURE = 200
_WORD = re.compile(r"[^\W\d_][^\W\d_\u0300-\u036f]*(?:[\u0300-\u036f]+[^\W\d_]*)*")
_EAST = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "HALFWIDTH"})
#: scripts that are written beside Latin words without a space
_UNSPACED = _EAST | {"THAI", "LAO", "KHMER", "MYANMAR"}
_PLAIN_CYRILLIC = re.compile("[\u0400-\u045f]")
_MORE_CYRILLIC = re.compile("[\u0460-\u052f]")
# Of the letters after U+017F those of Vietnamese, Romanian, Azerbaijani and of pinyin.
_RARE_LATIN = re.compile("[\u0180-\u02ff]")
_USED_LATIN = frozenset("ƏəƒƠơƯưǍǎǏǐǑǒǓǔǕǖǗǘǙǚǛǜȘșȚț")
# The Vietnamese đ begins words such as Đô.
_ACCENTED = re.compile("(?=.?[\u0100-\u017f])[\u00c0-\u010f\u0112-\u017f]{2}")
# A letter that is all there is between two commas: è is one Chinese character in GBK.
_SINGLE = re.compile(r"(?:^|[,;\t\r\n\"])[ ]*([\u00c0-\u07ff])[ ]*(?=$|[,;\t\r\n\"])")
_APOSTROPHES = re.compile("[\u02bb\u02bc]")
_MARKS = re.compile("[\u0332-\u036f\u0483-\u0489]")
_LONE_MARK = re.compile(
    "(?:^|[^\\w\u0300-\u036f])[\u0300-\u036f]|[\u0591-\u05bd\u064b-\u0652]|[\u02c2-\u02c6\u02c8-\u02d8\u02de-\u02ff]"
)
_UNWRITTEN = re.compile("[\u0700-\u07ff]")


def odd(text: str) -> str:
    """A word of ``text`` that nobody would write, where at least half of those that are not plain ASCII are such."""
    if text.isascii() or sum(not char.isascii() for char in text) > _SURE:
        return ""
    words = [word for word in _WORD.findall(_APOSTROPHES.sub("", text)) if not word.isascii()]
    odd_words = [word for word in words if _odd(word)] + _SINGLE.findall(text)
    stray = [char for char in text if unicodedata.category(char) in ("Cn", "Co", "Cc") and not char.isspace()]
    lone = _LONE_MARK.findall(text) if not words else []
    return next(iter(odd_words + stray + lone), "") if 2 * len(odd_words) >= len(words) else ""


def _odd(word: str) -> bool:
    scripts = {_script(char) for char in word if char.isalpha()}
    if scripts & _EAST:
        scripts -= _EAST - {"CJK"}
    if scripts & _UNSPACED:
        scripts.discard("LATIN")
    greek = sum(_script(char) == "GREEK" for char in word)
    if scripts == {"LATIN", "GREEK"} and greek == 1:  # such as μm
        return False
    return (
        len(scripts) > 1
        or bool(_ACCENTED.fullmatch(word) or _MARKS.search(word) or _UNWRITTEN.search(word))
        or (_MORE_CYRILLIC.search(word) is not None and len(_PLAIN_CYRILLIC.findall(word)) < 2)
        or any(char not in _USED_LATIN for char in _RARE_LATIN.findall(word))
    )


def _script(char: str) -> str:
    return unicodedata.name(char, "?").split()[0]
