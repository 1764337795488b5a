"""Workbooks as spreadsheets write them, in the XML of ECMA-376 part 1."""

import zipfile

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def write(path, rows, *, strings="", styles="", sheets=(("Sheet1", "visible"),), workbook="", sheet=None, more=()):
    """A workbook whose first sheet holds ``rows``, each a text of ``<c>`` elements; the others hold a cell each."""
    parts = {
        "_rels/.rels": _relations([("rId1", "officeDocument", "xl/workbook.xml")]),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">{workbook}<sheets>'
        + "".join(
            f'<sheet name="{name}" sheetId="{number}" state="{state}" r:id="rId{number}"/>'
            for number, (name, state) in enumerate(sheets, 1)
        )
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": _relations([
            *((f"rId{number}", "worksheet", f"worksheets/sheet{number}.xml") for number in range(1, len(sheets) + 1)),
            ("rId101", "sharedStrings", "/xl/sharedStrings.xml"),
            ("rId102", "styles", "styles.xml"),
        ]),
        "xl/sharedStrings.xml": f'<sst xmlns="{_MAIN}">{strings}</sst>',
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">{styles}</styleSheet>',
        "xl/worksheets/sheet1.xml": sheet or table(rows),
        **{
            f"xl/worksheets/sheet{number}.xml": table([text("sku"), text(f"of {name}")])
            for number, (name, _) in enumerate(sheets[1:], 2)
        },
        **dict(more),
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return path


def table(rows):
    """The XML of a sheet."""
    inside = "".join(f'<row r="{number}">{cells}</row>' for number, cells in enumerate(rows, 1))
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{inside}</sheetData></worksheet>'


def text(*texts):
    """Cells with inline texts."""
    return "".join(f'<c t="inlineStr"><is><t>{one}</t></is></c>' for one in texts)


def _relations(relations):
    return f'<Relationships xmlns="{_PACKAGE}">' + "".join(
        f'<Relationship Id="{id}" Type="{_OFFICE}/{kind}" Target="{target}"/>' for id, kind, target in relations
    ) + "</Relationships>"  # fmt: skip
