"""Product lists as workbooks: what the cells show, and files that are made to harm."""

import time
import zipfile

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.products import listing, xlsx

from . import workbooks

# Built-in 14 is a date, 22 a date with a time; 9 is a percentage; the others are written down.
STYLES = """
<numFmts><numFmt numFmtId="164" formatCode="yyyy&quot;年&quot;m&quot;月&quot;"/>
<numFmt numFmtId="165" formatCode="00000"/><numFmt numFmtId="166" formatCode="[Red]0.00&quot; days&quot;"/></numFmts>
<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>
<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="164"/><xf numFmtId="165"/>
<xf numFmtId="166"/><xf numFmtId="20"/></cellXfs>
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "products.xlsx"


def cells(path, sheet=""):
    return [(row.number, row.cells) for row in xlsx.read(path, sheet)]


def test_a_workbook_is_a_product_list(path):
    strings = "<si><t>sku</t></si><si><r><t>Summer </t></r><r><rPr/><t>dress</t></r><rPh><t>ナツ</t></rPh></si>"
    rows = [
        '<c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><t>标题</t></is></c><c r="D1" t="str"><v>颜色</v></c>',
        '<c r="A2"><v>6901234567892</v></c><c r="B2" t="s"><v>1</v></c><c r="C2"/><c r="D2" t="inlineStr"><is><t>红'
        "_x000D_色</t></is></c>",
    ]
    workbooks.write(path, rows, strings=strings)
    found = listing.read(path)
    (product,) = found.products
    assert (product.sku, product.title, product.attributes) == ("6901234567892", "Summer dress", {"颜色": "红\r色"})
    assert found.headers == ["sku", "标题", "column 3", "颜色"] and product.row == 2


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("<c><v>38</v></c>", "38"),
        ("<c><v>38.0</v></c>", "38"),
        ("<c><v>0.30000000000000004</v></c>", "0.3"),
        ("<c><v>1.5E+15</v></c>", "1500000000000000"),
        ("<c><v>-2.50</v></c>", "-2.5"),
        ('<c s="4"><v>123</v></c>', "00123"),
        ('<c s="5"><v>45000</v></c>', "45000"),
        ('<c s="1"><v>45000</v></c>', "2023-03-15"),
        ('<c s="1"><v>1</v></c>', "1900-01-01"),
        ('<c s="1"><v>59</v></c>', "1900-02-28"),
        ('<c s="1"><v>61</v></c>', "1900-03-01"),
        ('<c s="2"><v>45000.75</v></c>', "2023-03-15 18:00:00"),
        ('<c s="3"><v>45000</v></c>', "2023-03-15"),
        ('<c s="6"><v>0.25</v></c>', "06:00:00"),
        ('<c t="d"><v>2023-03-15T00:00:00</v></c>', "2023-03-15"),
        ('<c t="b"><v>1</v></c>', "true"),
        ('<c t="b"><v>0</v></c>', "false"),
    ],
)
def test_cells_are_read_as_they_are_shown(path, cell, shown):
    """Day 45000 is 15 March 2023 in Excel; its day 60 is a 29 February 1900 that never was."""
    workbooks.write(path, [cell], styles=STYLES)
    assert cells(path) == [(1, [shown])]


def test_dates_of_old_macs(path):
    workbooks.write(path, ['<c s="1"><v>0</v></c><c s="1"><v>1462</v></c>'], styles=STYLES,
                    workbook='<workbookPr date1904="1"/>')  # fmt: skip
    assert cells(path) == [(1, ["00:00:00", "1908-01-02"])]


def test_a_sheet_by_its_name_else_the_first_that_is_shown(path):
    sheets = [("Notes", "hidden"), ("Spring", "visible"), ("夏季", "veryHidden")]
    workbooks.write(path, [workbooks.text("sku"), workbooks.text("of Notes")], sheets=sheets)
    assert [one.sku for one in listing.read(path).products] == ["of Spring"]
    assert [one.sku for one in listing.read(path, sheet="夏季").products] == ["of 夏季"]
    with pytest.raises(UserError, match=r"no sheet 'Autumn'; its sheets are Notes, Spring, 夏季"):
        listing.read(path, sheet="Autumn")


def test_an_error_of_a_formula_is_a_problem_of_its_row(path):
    rows = [workbooks.text("sku", "price"), workbooks.text("1") + '<c t="e"><v>#N/A</v></c>', workbooks.text("2", "3")]
    rows += [workbooks.text("4") + "<c><f>1+1</f></c>", workbooks.text("5") + "<c><f>1+1</f><v>2</v></c>"]
    found = listing.read(workbooks.write(path, rows))
    assert [one.sku for one in found.products] == ["2", "5"]
    assert [(one.row, one.sentence) for one in found.problems] == [
        (2, "This row has a formula that gives #N/A; correct the formula, or write the value itself."),
        (4, "This row has a formula without its value; save the workbook once in a spreadsheet program."),
    ]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
CELL = '<x><row><c t="inlineStr"><is><t>{}</t></is></c></row></x>'


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"sheet": BOMB + CELL.format("&b;")}, "its XML has a document type"),
        ({"sheet": ("<?xml version='1.0' encoding='utf-16'?>" + FILE + CELL.format("&a;")).encode("utf-16")},
         "its XML has a document type"),
        ({"sheet": CELL.format("&b;")}, "is damaged"),
        ({"sheet": "<x><row>"}, "is damaged"),
        ({"sheet": '<x><row><c r="XFD1"><v>1</v></c></row></x>'}, "a cell in column 16384, at most 1000"),
        ({"sheet": '<x><row r="x"/></x>'}, "is damaged"),
        ({"sheet": '<x><row><c t="s"><v>5</v></c></row></x>'}, "is damaged"),
        ({"sheet": '<x><row><c><v>1e999</v></c></row></x>'}, "is damaged"),
        ({"sheet": '<x><row><c s="1"><v>99999999</v></c></row></x>', "styles": STYLES}, "is no date"),
        ({"more": [(f"part{number}", "") for number in range(10_001)]}, "it has 10007 parts"),
        ({"more": [("xl/styles.xml", b" " * (17 << 20))]}, "xl/styles.xml has 17 MiB when it is unpacked"),
    ],
)  # fmt: skip
def test_what_no_spreadsheet_writes(path, parts, sentence):
    workbooks.write(path, [workbooks.text("sku")], **parts)
    with pytest.raises(UserError, match=sentence):
        listing.read(path)


def test_a_part_that_grows_when_it_is_unpacked(path, monkeypatch):
    monkeypatch.setattr(xlsx, "_LARGEST_PART", 1 << 20)
    workbooks.write(path, [], sheet="<x>" + " " * (2 << 20) + "</x>")
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match="has 2 MiB when it is unpacked"):
        listing.read(path)


def test_a_part_that_is_larger_than_it_says(path):
    """The size in the zip's directory is what is read, and then the checksum is wrong."""
    workbooks.write(path, [workbooks.text("sku", "a" * 5000)])
    with zipfile.ZipFile(path) as packed:
        size = packed.getinfo("xl/worksheets/sheet1.xml").file_size
    content = path.read_bytes()
    lied = content.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lied != content
    path.write_bytes(lied)
    with pytest.raises(UserError, match="damaged"):
        listing.read(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"sku,title\n1,a\n", "this is no workbook, or it is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "has a password, or is one of Excel before 2007"),
    ],
)
def test_files_that_are_no_workbooks(path, content, sentence):
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        listing.read(path)


def test_a_zip_without_a_workbook(path):
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.txt", "a")
    with pytest.raises(UserError, match="there is no workbook in it"):
        listing.read(path)


def test_fifty_thousand_rows(path):
    strings = "".join(f"<si><t>女士连衣裙 {number}</t></si>" for number in range(1000))
    rows = [workbooks.text("sku", "title", "price", "颜色", "尺码")]
    rows += [
        f'<c r="A{n}"><v>{n}</v></c><c r="B{n}" t="s"><v>{n % 1000}</v></c><c r="C{n}"><v>9.5</v></c>'
        f'<c r="D{n}" t="s"><v>7</v></c><c r="E{n}" t="s"><v>8</v></c>'
        for n in range(2, 50_002)
    ]
    workbooks.write(path, rows, strings=strings)
    started = time.process_time()
    found = listing.read(path)
    assert len(found.products) == 50_000 and time.process_time() - started < 8
    assert found.products[-1].title == "女士连衣裙 1"
