"""Catalogues: products that are read again, candidates and their seeds, what people decide, and 50,000 rows."""

import time

import pytest

from lora_scripts_ext import random_streams
from lora_scripts_ext.catalogue import candidates, decisions
from lora_scripts_ext.catalogue.candidates import Drawn
from lora_scripts_ext.catalogue.product import Plan
from lora_scripts_ext.catalogue.settings import Settings
from lora_scripts_ext.catalogue.store import Catalogue, Planned
from lora_scripts_ext.errors import Conflict, NotFound, UserError
from lora_scripts_ext.products.listing import Problem
from lora_scripts_ext.products.product import Product

LORA = {"file": "", "name": "brand", "weight": 0.8}


@pytest.fixture
def catalogue(tmp_path):
    made = Catalogue.create(tmp_path / "shop", Settings(name="shop", candidates=3))
    yield made
    made.close()


def planned(sku, row=2, prompt="", rule="all", **fields):
    return Planned(
        Product(sku, row=row, **{"title": f"Shoe {sku}", "category": "Shoes", **fields}),
        Plan(prompt or f"a shoe {sku}", "blurry", rule, (LORA,) if rule else ()),
    )


def skus(page):
    return [one.sku for one in page.products]


def draw(catalogue, product, count=2):
    candidates.request(catalogue, count, [product.id])
    waiting = candidates.of_product(catalogue, product.id)
    candidates.note_drawn(catalogue, [Drawn(one, f"{one.number}.png", "00", {}) for one in waiting])
    return candidates.of_product(catalogue, product.id)


def test_products_come_page_by_page_and_are_found_by_what_they_are(catalogue):
    titles = [f"{'红色' if n % 2 else 'Blue'} 100%_shoe {n}" for n in range(7)]
    rows = [planned(f"S{n}", n, title=title, tags=("summer",)) for n, title in enumerate(titles)]
    catalogue.update([*rows, planned("B1", category="Bags", rule="")], [Problem(9, "sku", "This row has no SKU.")])
    first = catalogue.page(limit=5)
    assert skus(first) == ["S0", "S1", "S2", "S3", "S4"]
    assert skus(catalogue.page(limit=5, cursor=first.next)) == ["S5", "S6", "B1"]
    assert catalogue.page(limit=5, cursor=first.next).next is None
    assert skus(catalogue.page(search="红色")) == ["S1", "S3", "S5"]
    assert skus(catalogue.page(search="blue 100%_SHOE 2")) == ["S2"]
    assert skus(catalogue.page(search="%")) == skus(catalogue.page(search="summer"))
    assert skus(catalogue.page(category="Bags")) == skus(catalogue.page(state="unmatched")) == ["B1"]
    assert catalogue.counts()["ready"] == 7 and catalogue.categories() == ["Bags", "Shoes"]
    assert catalogue.problems() == [Problem(9, "sku", "This row has no SKU.")]
    with pytest.raises(UserError, match="cursor"):
        catalogue.page(cursor="x")
    with pytest.raises(NotFound):
        catalogue.by_sku("S9")


def test_a_list_that_is_read_again_keeps_what_people_have_done(catalogue):
    catalogue.update([planned("A"), planned("B"), planned("C")], [])
    a, b = catalogue.by_sku("A"), catalogue.by_sku("B")
    catalogue.edit(a.id, {"prompt": " my own "})
    drawn = draw(catalogue, b)
    decisions.decide(catalogue, b.id, 2, "approved", who="Li")
    changes = catalogue.update([planned("D"), planned("B", title="New"), planned("A", prompt="other", row=4)], [])
    assert (changes.added, changes.changed, changes.removed) == (["D"], ["B", "A"], ["C"])
    assert skus(catalogue.page()) == ["D", "B", "A"]
    again = catalogue.by_sku("A")
    assert (again.id, again.plan.prompt, again.edited, again.product.row) == (a.id, "my own", ("prompt",), 4)
    assert catalogue.edit(a.id, {"prompt": None}).plan.prompt == "other"
    assert [one.seed for one in candidates.of_product(catalogue, b.id)] == [one.seed for one in drawn]
    assert catalogue.by_sku("B").state == "approved"
    assert skus(catalogue.page(state="removed")) == ["C"]
    assert catalogue.update([planned(sku) for sku in "ABC"], []).changed == ["A", "B", "C"]
    assert catalogue.by_sku("C").state == "ready"


def test_seeds_are_those_of_the_sku_whatever_else_is_in_the_list(catalogue, tmp_path):
    catalogue.update([planned("A"), planned("红-1")], [])
    assert candidates.request(catalogue) == 6 and candidates.request(catalogue) == 0
    other = Catalogue.create(tmp_path / "other", Settings(candidates=5))
    other.update([planned("Z"), planned("红-1"), planned("Y"), planned("A")], [])
    candidates.request(other)

    def seeds(of, sku):
        return [one.seed for one in candidates.of_product(of, of.by_sku(sku).id)]

    for sku in ("A", "红-1"):
        assert seeds(other, sku)[:3] == seeds(catalogue, sku)
    assert len({*seeds(other, "A"), *seeds(other, "红-1"), *seeds(other, "Z")}) == 15
    # What a seed is must not change from one release to the next.
    key = int.from_bytes(bytes.fromhex("559aead08264d579"), "big")  # sha256("A")
    assert seeds(catalogue, "A")[0] == random_streams.derive(1234, 5, key, 1) % 2**32
    other.close()


def test_more_candidates_and_those_that_failed(catalogue):
    catalogue.update([planned("A"), planned("B", rule="")], [])
    a, b = catalogue.by_sku("A"), catalogue.by_sku("B")
    assert candidates.request(catalogue) == 3
    product, batch, _ = candidates.next_batch(catalogue)
    assert (product.sku, [one.number for one in batch]) == ("A", [1, 2, 3])
    candidates.note_failed(catalogue, batch, "A: there is no LoRA.")
    assert candidates.next_batch(catalogue) is None and catalogue.by_sku("A").state == "failed"
    assert candidates.request(catalogue) == 3
    candidates.note_drawn(catalogue, [Drawn(one, "x.png", "00", {}) for one in batch])
    more = candidates.add(catalogue, a.id)
    assert [(one.number, one.batch, one.state) for one in more] == [(4, 2, "waiting")]
    assert [one.number for one in candidates.next_batch(catalogue)[1]] == [4]
    assert candidates.counts(catalogue) == {"waiting": 1, "drawn": 3, "failed": 0}
    with pytest.raises(Conflict, match="no rule fits"):
        candidates.add(catalogue, b.id)
    catalogue.edit(b.id, {"loras": []})
    assert len(candidates.add(catalogue, b.id, 2)) == 2
    with pytest.raises(UserError, match="at most"):
        candidates.add(catalogue, b.id, 1000)


def test_products_with_the_same_loras_come_one_after_the_other(catalogue):
    other = {"file": "", "name": "season", "weight": 1.0}
    rows = [planned(sku) for sku in "ABCDEF"]
    rows = [Planned(one.product, Plan("x", rule="r", loras=(LORA if n % 2 else other,))) for n, one in enumerate(rows)]
    catalogue.update(rows, [])
    candidates.request(catalogue, 1)
    seen, place = [], ()
    while found := candidates.next_batch(catalogue, *place):
        product, batch, next_place = found
        place = (next_place,)
        seen.append(product.sku)
        candidates.note_failed(catalogue, batch, "no")
    assert seen == [*"BDF", *"ACE"]


def test_what_people_decide(catalogue):
    catalogue.update([planned("A")], [])
    a = catalogue.by_sku("A")
    draw(catalogue, a, 3)
    assert catalogue.by_sku("A").state == "drawn"
    decisions.decide(catalogue, a.id, 3, "approved", crop=(0.1, 0.0, 0.9, 1.0), who="Li", comment="nice")
    decisions.decide(catalogue, a.id, 1, "approved")
    decisions.decide(catalogue, a.id, 3, "comment", comment="crop it")
    third, first = (candidates.get(catalogue, a.id, number) for number in (3, 1))
    assert (third.verdict, third.crop) == ("approved", (0.1, 0.0, 0.9, 1.0))
    assert third.decision < first.decision
    # Another crop leaves its place.
    decisions.decide(catalogue, a.id, 3, "approved", crop=(0, 0, 0.5, 0.5), who="Anna")
    third = candidates.get(catalogue, a.id, 3)
    assert third.decision < first.decision and third.crop == (0, 0, 0.5, 0.5)
    assert decisions.approval(catalogue, third).who == "Anna"
    assert [one.verdict for one in decisions.of_product(catalogue, a.id)] == [
        "approved", "comment", "approved", "approved",
    ]  # fmt: skip
    for number in (1, 2, 3):
        decisions.decide(catalogue, a.id, number, "rejected")
    assert catalogue.by_sku("A").state == "rejected" and decisions.approval(catalogue, third) is not None
    assert decisions.approval(catalogue, candidates.get(catalogue, a.id, 3)) is None
    decisions.decide(catalogue, a.id, 3, "approved", crop=(0, 0, 0.5, 0.5))
    decisions.decide(catalogue, a.id, 3, "undecided", who="Li")
    third = candidates.get(catalogue, a.id, 3)
    assert (third.verdict, third.crop, third.decision) == ("", None, None)
    assert catalogue.by_sku("A").state == "drawn" and decisions.of_product(catalogue, a.id)[0].who == "Li"
    for wrong, says in (
        ({"crop": (0.5, 0, 0.4, 1)}, "crop: "),
        ({"crop": (0, 0, 0.01, 1)}, "crop: "),
        ({"verdict": "comment"}, "it is empty"),
        ({"who": "a\nb"}, "who: "),
    ):
        with pytest.raises(UserError, match=says):
            decisions.decide(catalogue, a.id, 1, **{"verdict": "approved", **wrong})
    candidates.add(catalogue, a.id)
    with pytest.raises(Conflict, match="is not drawn"):
        decisions.decide(catalogue, a.id, 4, "approved")


def test_what_cannot_be_changed(catalogue):
    catalogue.update([planned("A")], [])
    a = catalogue.by_sku("A")
    for changes, says in (
        ({"sku": "B"}, "cannot be changed"),
        ({"prompt": "x" * 4001}, "shorten it"),
        ({"loras": [{"weight": 1}]}, "a file or a name"),
        ({"loras": [{"name": "a", "weight": 11}]}, "from -10 to 10"),
    ):
        with pytest.raises(UserError, match=says):
            catalogue.edit(a.id, changes)
    with pytest.raises(UserError, match="already"):
        Catalogue.create(catalogue.folder, Settings())
    with pytest.raises(NotFound, match="there is no catalogue"):
        Catalogue.open(catalogue.folder / "none")


def test_fifty_thousand_products_are_listed_in_milliseconds(catalogue):
    catalogue.update((planned(f"S{n}", n) for n in range(50_000)), [])
    times = []
    for options in ({}, {"cursor": "25000-25000"}, {"category": "Shoes", "cursor": "49900-49900"}, {"state": "ready"}):
        started = time.perf_counter()
        assert len(catalogue.page(limit=100, **options).products) == 100
        times.append(time.perf_counter() - started)
    # Without an index each would take as long as the whole table.
    assert sorted(times)[1] < 0.05
