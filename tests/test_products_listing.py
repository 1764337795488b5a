"""Product lists as shops export them: every row becomes a product, or a sentence."""

import json
import time
import tracemalloc

import pytest
from PIL import Image

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.products import listing
from lora_scripts_ext.products.columns import Columns, guessed, key
from lora_scripts_ext.products.product import located

CHINESE = """货号,商品名称,类目,标签,描述,颜色
001,女士连衣裙,女装,新款、夏季,舒适的棉质连衣裙,红色
002,男士衬衫,男装,,商务衬衫,白色
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "a-mask.png", "b.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    return tmp_path


def write(folder, content, name="products.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder, content, name="products.csv", **options):
    return listing.read(write(folder, content, name), **options)


def problems(found):
    return [(one.row, one.column, one.sentence) for one in found.problems]


def test_a_row_is_a_product(folder):
    found = read(
        folder,
        "SKU,Title,Category,Tags,Description,Photo,Mask,Prompt,Negative prompt,Colour,Fabric\n"
        'D-1,Summer dress,Dresses,"new, linen; sale",Light,a.png,a-mask.png,a dress,blurry,red,linen\n',
    )
    assert found.problems == []
    (product,) = found.products
    assert (product.sku, product.title, product.category) == ("D-1", "Summer dress", "Dresses")
    assert product.tags == ("new", "linen", "sale")
    assert product.attributes == {"Colour": "red", "Fabric": "linen"}
    assert (product.photo, product.mask) == ("a.png", "a-mask.png")
    assert (product.prompt, product.negative, product.row) == ("a dress", "blurry", 2)
    assert located(product.photo, found.folder) == str(folder / "a.png")


@pytest.mark.parametrize(
    "content",
    [
        CHINESE.encode("utf-8"),
        CHINESE.encode("utf-8-sig"),
        CHINESE.encode("utf-16"),
        CHINESE.encode("gb18030"),
        CHINESE.replace(",", ";").encode("gbk"),
        CHINESE.replace(",", "\t").replace("\n", "\r\n").encode("utf-16-le"),
        b"sep=;\r\n" + CHINESE.replace(",", ";").encode("gbk"),
        CHINESE.replace(",", "|").encode(),
        "春季商品表,,,,,\n,,,,,\n".encode() + CHINESE.encode(),
    ],
    ids=range(9),
)
def test_dialects_and_encodings(folder, content):
    found = read(folder, content)
    assert found.problems == []
    assert [one.sku for one in found.products] == ["001", "002"]
    first = found.products[0]
    assert (first.title, first.category, first.description) == ("女士连衣裙", "女装", "舒适的棉质连衣裙")
    assert first.tags == ("新款", "夏季") and first.attributes == {"颜色": "红色"}


def test_an_encoding_can_be_named(folder):
    content = "sku,title\n1,Größe für Mädchen\n".encode("cp1252")
    with pytest.raises(UserError, match=r"products\.csv: .*; save it as UTF-8, or name its encoding"):
        read(folder, content)
    assert read(folder, content, encoding="cp1252").products[0].title == "Größe für Mädchen"
    with pytest.raises(UserError, match="no encoding 'none'"):
        read(folder, content, encoding="none")


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (["Handle", "Title", "Body (HTML)", "Vendor", "Type", "Tags", "Variant SKU", "Image Src"],
         {"sku": "Variant SKU", "title": "Title", "description": "Body (HTML)", "category": "Type", "tags": "Tags",
          "photo": "Image Src"}),
        (["id", "title", "description", "image_link", "google_product_category", "brand"],
         {"sku": "id", "title": "title", "description": "description", "photo": "image_link",
          "category": "google_product_category"}),
        (["ID", "Type", "SKU", "Name", "Categories", "Tags", "Images"],
         {"sku": "SKU", "title": "Name", "category": "Categories", "tags": "Tags", "photo": "Images"}),
        (["商家编码", "宝贝标题", "宝贝类目", "主图", "蒙版", "控制图", "参考图", "提示词", "负面提示词"],
         {"sku": "商家编码", "title": "宝贝标题", "category": "宝贝类目", "photo": "主图", "mask": "蒙版",
          "control": "控制图", "reference": "参考图", "prompt": "提示词", "negative": "负面提示词"}),
        (["ｓｋｕ", "product-name", " Main  Image "],
         {"sku": "ｓｋｕ", "title": "product-name", "photo": " Main  Image "}),
    ],
)  # fmt: skip
def test_columns_are_guessed(headers, wanted):
    assert {name: header for name, header in guessed(headers).to_dict().items() if header} == wanted


def test_columns_are_given_once_and_kept(folder):
    content = "Artikel,Bezeichnung,Bild,title\nA1,Kleid,weg.png,x\n"
    with pytest.raises(UserError, match="no column is the SKU, there are only Artikel, Bezeichnung, Bild, title"):
        read(folder, content)
    wanted = Columns.from_dict({"sku": "artikel", "title": "Bezeichnung"})
    found = read(folder, content, columns=wanted)
    assert found.products[0].title == "Kleid"
    assert found.products[0].attributes == {"Bild": "weg.png", "title": "x"}
    kept = Columns.from_dict(json.loads(json.dumps(found.columns.to_dict())))
    assert kept == found.columns == read(folder, content, columns=kept).columns
    assert key(["Artikel", "Bezeichnung"]) == key(["bezeichnung ", "ARTIKEL"]) != key(["Artikel"])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (["sku"], "expected a mapping of fields"),
        ({"price": "a"}, "no field 'price'; the fields are sku, title"),
        ({"sku": 3}, "sku must be the name of a column"),
        ({"sku": "a", "title": "a"}, "'a' is the column of two fields"),
    ],
)
def test_columns_that_make_no_sense(data, sentence):
    with pytest.raises(UserError, match=sentence):
        Columns.from_dict(data)


def test_a_column_that_is_not_there(folder):
    with pytest.raises(UserError, match="title is 'Titel', which is no column of the list; its columns are sku, name"):
        read(folder, "sku,name\n1,a\n", columns=Columns({"title": "Titel"}))


def test_a_wrong_row_is_named_and_the_others_go_on(folder):
    found = read(
        folder,
        "sku,title,photo\nA,one,a.png\n,two,a.png\nA,three,b.jpg\nB,four,gone.png\n\nC,five,https://shop.example/c.png\n"
        "D,six,b.jpg,surplus\nE,seven,\nF,eight,.\\b.jpg\n",
    )
    assert [one.sku for one in found.products] == ["A", "E", "F"]
    assert [one.row for one in found.products] == [2, 9, 10]
    assert problems(found) == [
        (3, "sku", "This row has no SKU; write one."),
        (4, "sku", "The SKU A stands in row 2 already, which counts; remove one of them."),
        (5, "photo", "There is no file gone.png; correct the path, which is relative to the list."),
        (7, "photo", "https://shop.example/c.png is an address on the web, from which nothing is fetched unless "
         "photos_from names what it begins with; name it there, or save the file and write its path."),
        (8, "", "This row has more cells than there are columns; the first one too many is 'surplus'; put text that "
         "holds the delimiter in quotes."),
    ]  # fmt: skip


def test_photos_on_the_web_where_they_are_allowed(folder):
    content = "sku,photo\n1,https://shop.example/c.png\n2,https://other.example/c.png\n"
    found = read(folder, content, photos_from=["https://shop.example/"])
    assert [one.photo for one in found.products] == ["https://shop.example/c.png"]
    assert problems(found)[0][:2] == (3, "photo")


def test_a_photo_outside_of_what_may_be_read(folder):
    (folder / "in").mkdir()
    environment = Standalone(folder / "data", "", Bounds((folder / "in",)))
    found = read(folder / "in", "sku,photo\n1,../a.png\n", readable=environment.readable)
    assert found.products == []
    assert problems(found)[0][:2] == (2, "photo") and "reads and writes only below" in problems(found)[0][2]


PRODUCTS = [
    {"sku": "1", "title": "Dress", "tags": ["new", "linen"], "attributes": {"colour": "red", "size": 38}},
    {"sku": 2, "title": None, "sale": True},
]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (json.dumps(PRODUCTS), "products.json"),
        (json.dumps({"products": PRODUCTS}, indent=2), "products.json"),
        ("\n".join(map(json.dumps, PRODUCTS)), "products.jsonl"),
        ("\n".join(map(json.dumps, PRODUCTS)).encode("utf-16"), "products.ndjson"),
    ],
)
def test_json(folder, content, name):
    found = read(folder, content, name)
    first, second = found.products
    assert (first.sku, first.title, first.tags) == ("1", "Dress", ("new", "linen"))
    assert first.attributes == {"colour": "red", "size": "38"}
    assert (second.sku, second.title, second.attributes) == ("2", "", {"sale": "true"})
    assert [first.row, second.row] == [1, 2]
    assert found.headers == ["sku", "title", "tags", "colour", "size", "sale"]


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        ('[{"sku": 1},\n{"sku" 2}]', "a.json", "line 2 is not JSON"),
        ('{"sku": 1}\n{"sku": 2\n{"sku": 3}', "a.jsonl", "line 2 is not JSON"),
        ("[" * 100_000, "a.json", "line 1 is not JSON"),
        ('{"products": "none"}', "a.json", "it holds no products"),
        ("3", "a.json", "it holds no products"),
        ("[]", "a.json", "there are no products in it"),
        ("", "a.csv", "there are no products in it"),
        (b"\xd0\xcf\x11\xe0", "a.xls", "save it as XLSX or as CSV"),
        (",".join(map(str, range(2000))), "a.csv", "has 2000 columns"),
    ],
    ids=range(9),
)
def test_lists_that_are_none(folder, content, name, sentence):
    with pytest.raises(UserError, match=sentence):
        read(folder, content, name)


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="it cannot be read"):
        listing.read(tmp_path / "gone.csv")


def test_rows_over_the_api(folder):
    rows = [{"SKU": "1", "photo": str(folder / "a.png")}, {"SKU": "2", "photo": "a.png"}, "three", {"SKU": {"a": 1}}]
    found = listing.from_rows(rows)
    assert [one.sku for one in found.products] == ["1"]
    assert problems(found) == [
        (2, "photo", "a.png is no absolute path; write the whole path."),
        (3, "", "This row is no object; write its keys and values in braces."),
        (4, "", "This row has under 'SKU' neither a text, a number nor a list of them; write it as text."),
    ]
    assert [one.sku for one in listing.from_rows(rows[:2], folder=folder).products] == ["1", "2"]


def test_a_folder_of_photos(folder):
    (folder / "shoes").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "shoes" / "S 1.webp")
    (folder / "shoes" / "S 1.txt").write_bytes("红色的运动鞋，舒适".encode("gbk"))
    (folder / "b.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "c.cr2").write_bytes(b"II*\0")
    found = listing.read(folder)
    assert [(one.sku, one.photo, one.mask, one.category, one.description) for one in found.products] == [
        ("a", "a.png", "a-mask.png", "", ""),
        ("S 1", "shoes/S 1.webp", "", "shoes", "红色的运动鞋，舒适"),
    ]
    assert [one.sentence.split(";")[0] for one in found.problems] == [
        "This row has a text file, b.txt, that cannot be read (begins as UTF-16-LE but is damaged)",
        "This row names c.cr2: it is a camera raw file, which is not read",
    ]


@pytest.mark.parametrize(("name", "encoding"), [("p.csv", "gb18030"), ("p.jsonl", "utf-8")])
def test_fifty_thousand_rows(folder, name, encoding):
    values = [f"女士连衣裙 {number}" if number % 2 else f"Dress {number}" for number in range(50_000)]
    if name.endswith("csv"):
        lines = [f"{n},{title},女装,新款,舒适的棉质,红色,XL,{n}.5,棉,夏季" for n, title in enumerate(values)]
        content = "sku,title,category,tags,description,颜色,尺码,price,面料,季节\n" + "\n".join(lines)
    else:
        content = "\n".join(json.dumps({"sku": n, "title": title, "颜色": "红色"}) for n, title in enumerate(values))
    path = write(folder, content.encode(encoding), name)
    started = time.process_time()
    found = listing.read(path)
    assert len(found.products) == 50_000 and not found.problems
    assert time.process_time() - started < 8
    assert found.products[-1].title == "女士连衣裙 49999"


def test_memory_is_that_of_the_products(folder):
    lines = [f"{number},{'x' * 50},{'y' * 50}" for number in range(4_000)]
    path = write(folder, "sku,title,note\n" + "\n".join(lines))
    tracemalloc.start()
    try:
        found = listing.read(path)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.products) == 4_000
    assert most < kept + 6 * path.stat().st_size
