"""Encodings of caption files: known for certain, or refused; never guessed into another text."""

import pytest

from lora_scripts_ext.captions import text_file, words
from lora_scripts_ext.captions.text_file import Unknown
from lora_scripts_ext.errors import UserError

CHINESE = [
    "红色连衣裙", "iPhone 15 二手", "白色T恤,男款", "白色运动鞋,侧面", "二手手机,九成新",
    "黑色真皮手提包,金色拉链,白色背景",
    "蕾丝衬衫,女士,春季新款", "陶瓷杯子,木桌上,柔和光线", "红鞋", "男士手表", "碎花连衣裙,模特,户外",
    "翡翠手镯", "保温杯,不锈钢",
    "一只猫,坐着", "红色跑鞋", "帆布包,米色", "特斯拉汽车 Model Y,侧面", "口红,玻璃瓶,粉色", "a photo of 红色 连衣裙",
    "产品图", "商品图", "主图", "运动鞋", "红裙", "连衣裙",
    "蓝牙耳机,充电盒", "filename,prompt\r\n中文.png,“红色”连衣裙（女款）￥99\r\n",
]  # fmt: skip
FOREIGN = {
    "cp1252": [
        "Müller", "Größe 42, weiß", "Für Mädchen: Röcke & Blusen", "GRÜN/WEISS", "chaussure d’été", "créée à la main",
        "Noël, père", "niño con gorra", "pingüino", "¿qué?", "maçã, pão", "coração", "SÃO PAULO", "ÇA", "smörgåsbord",
        "blåbær", "HANUNÓ’O", "50 €", "“quoted”", "caf\u00e9", "Ärmel", "filename,prompt\na.png,Müller\n",
    ],
    "cp1250": ["żółć", "PÓŁNOCNA", "zażółć gęślą jaźń", "příliš žluťoučký kůň", "ÚŽIN", "árvíztűrő tükörfúrógép", "buty"
               " męskie – czarne", "łódź"],
    "cp1251": ["красное платье", "МОСКВА", "белая обувь, вид сбоку", "туфли", "ПЛАТЬЕ", "Россия", "сербия", "тапки"],
    "koi8_r": ["красное платье", "туфли", "Сербия", "белый фон", "сумка"],
    "shift_jis": ["赤いワンピース", "東京", "カメラ", "靴", "白い背景、横から", "猫が座っている",
                  "ｶﾒﾗ", "ｽｶｰﾄ", "女性用"],
    "euc_jp": ["赤いワンピース", "東京", "カメラ", "靴", "白い背景", "日本語", "女性用", "中国"],
    "euc_kr": ["빨간 원피스", "신발", "흰색 배경", "가방", "치키", "고양이가 앉아 있다",
               "옘바어", "코소보", "휴대폰 케이스"],
    "big5": ["紅色連身裙", "白色背景", "運動鞋", "貓", "手機殼", "台北", "中文", "產品圖"],
    "cp1253": ["κόκκινο φόρεμα", "ΠΑΠΟΥΤΣΙ", "λευκό φόντο"],
    "cp1254": ["kırmızı elbise", "ŞAPKA", "çiçek"],
    "cp1255": ["שמלה אדומה", "נעל"],
    "cp1256": ["فستان أحمر", "حذاء"],
    "cp874": ["ชุดเดรสสีแดง", "ศรีลังกา", "รองเท้า"],
    "cp850": ["Müller", "Größe", "été", "niño"],
    "mac_roman": ["Müller", "été", "niño"],
}  # fmt: skip
WRITTEN = sorted({text for texts in FOREIGN.values() for text in texts} | {
    "Đô la", "Tiếng Việt, áo dài", "ș ț ă î", "Şapka", "à la carte", "5 μm", "10 °C", "naïve", "Вʼєтнам", "Paʻanga",
    "İstanbul", "Ünïcödé", "日本", "😀", "cafe\u0301", "ÅÄÖ", "Ø 5 mm", "½ €",
    "հայերեն", "ქართული", "हिन्दी", "№ 5", "…",
})  # fmt: skip


@pytest.mark.parametrize("text", CHINESE)
def test_chinese_in_gbk_is_known(text):
    decoded = text_file.decode(text.encode("gbk"))
    assert (decoded.text, decoded.encoding) == (text, "gbk")
    assert decoded.encode(text) == text.encode("gbk")
    assert text_file.decode((text + "😀").encode("gb18030")).text == text + "😀" if len(text) > 8 else True


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in FOREIGN.items() for text in texts])
def test_other_encodings_are_refused_and_read_where_they_are_named(encoding, text):
    content = text.encode(encoding)
    if content != text.encode() and not content.isascii():
        with pytest.raises(Unknown):
            text_file.decode(content)
        assert text_file.decode(content, encoding).text == text


@pytest.mark.parametrize("text", [*WRITTEN, *CHINESE])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_people_write_is_unicode(text, encoding):
    assert text_file.decode(text.encode(encoding)).text == text
    assert text_file.decode(text.encode(encoding), "cp1252").text == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["a.png,red shoe\r\n", "filename,prompt\n中文.png,Müller 红色\n"])
def test_utf_16_without_a_mark_is_known_by_its_latin_letters(encoding, text):
    decoded = text_file.decode(text.encode(encoding))
    assert (decoded.text, decoded.encoding) == (text, encoding)


@pytest.mark.parametrize(
    "content",
    [
        "狗".encode("gbk"),  # a single character proves nothing
        "猫".encode("gbk"),  # valid UTF-8: è is no caption
        "猫, dog".encode("gbk"),
        "模".encode("gbk"),  # valid UTF-8: ģ is no word
        "一些".encode("gbk"),  # valid UTF-8: һЩ
        "專司 龍".encode("gbk"),  # traditional characters
        "M黮ler".encode("gbk"),
        b"\xff\xff\xff",
        b"\xef\xbb\xbf\xff",
        b"\xff\xfea",
        b"a\0b\0\0c",
        bytes(range(256)),
        "日本語".encode("utf-32"),
        "日本語のテキスト".encode("iso2022_jp").replace(b"\x1b", b"\xa4"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_refused(content):
    with pytest.raises(Unknown):
        text_file.decode(content)


def test_short_chinese_captions_are_known_by_the_others_of_their_folder():
    chinese = [text.encode("gbk") for text in ("猫", "狗", "一些", "红色连衣裙,白色背景")]
    assert text_file.shared_encoding([*chinese, "Müller".encode(), b"shoe"]) == "gbk"
    assert text_file.shared_encoding([*chinese, "Müller".encode("cp1252")]) == ""
    assert text_file.shared_encoding(chinese[:2]) == ""
    assert text_file.shared_encoding(["猫".encode(), b"shoe"]) == ""


@pytest.mark.parametrize("encoding", [name for name in FOREIGN if name != "big5"])
def test_a_folder_of_captions_in_another_encoding_is_no_chinese(encoding):
    assert text_file.shared_encoding(text.encode(encoding) for text in FOREIGN[encoding]) == ""


def test_the_line_is_named_and_the_remedy(tmp_path):
    with pytest.raises(Unknown, match="line 3 is neither UTF-8, UTF-16 nor clearly Chinese GBK"):
        text_file.decode("filename,prompt\na.png,x\nb.png,Müller\n".encode("cp1252"))
    with pytest.raises(Unknown, match="line 1 is neither UTF-8 nor shift_jis, as it was named"):
        text_file.decode(b"\xff\xff", "shift_jis")
    with pytest.raises(UserError, match="caption_encoding: there is no encoding 'klingon'"):
        text_file.check("klingon")


def test_a_long_text_with_a_slip_of_the_keyboard_is_still_unicode():
    assert not words.odd("красное платье, \u0441olor, белый фон")  # a Cyrillic letter among Latin ones
    assert words.odd("PӣNOCNA") == "PӣNOCNA"
