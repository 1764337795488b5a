"""Which addresses on the web a list's photos may have."""

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.products import addresses

ALLOWED = ["https://cdn.example.com/shop/", "http://127.0.0.1:8080"]


@pytest.mark.parametrize(
    "address",
    [
        "https://cdn.example.com/shop/a.png",
        "HTTPS://CDN.example.com/shop/a%20b.png?v=3",
        "http://127.0.0.1:8080/anything",
        "https://cdn.example.com/shop/红 裙.png",
    ],
)
def test_addresses_that_are_allowed(address):
    assert addresses.is_address(address) and addresses.refusal(address, ALLOWED) == ""


@pytest.mark.parametrize(
    "address",
    [
        "https://cdn.example.com/other/a.png",
        "https://cdn.example.com/shop/../other/a.png",
        "https://cdn.example.com/shop/%2e%2e/other/a.png",
        "https://cdn.example.com/shop/..\\a.png",
        "http://cdn.example.com/shop/a.png",
        "https://cdn.example.com:8443/shop/a.png",
        "https://cdn.example.com@evil.example/shop/a.png",
        "https://cdn.example.com.evil.example/shop/a.png",
        "http://127.0.0.1:8081/a.png",
        "https://[::1/a.png",
        "https://cdn.example.com:99999/shop/a.png",
        "//cdn.example.com/shop/a.png",
        "data:image/png;base64,AAAA",
        "https://cdn.example.com/shop/a.png\r\nHost: evil",
    ],
)
def test_addresses_that_are_not(address):
    assert addresses.is_address(address)
    assert "unless photos_from names what it begins with" in addresses.refusal(address, ALLOWED)


def test_paths_are_no_addresses():
    assert not any(map(addresses.is_address, ["a.png", "C:\\photos\\a.png", "/photos/a.png", "\\\\server\\a.png"]))


@pytest.mark.parametrize(
    "beginning", ["", "cdn.example.com", "ftp://a/", "https://a/?b", "https://u:p@a/", "https:///"]
)
def test_what_no_address_begins_with(beginning):
    with pytest.raises(UserError, match=r"photos_from: .* is not what addresses of photos begin with") as refused:
        addresses.check(beginning, "photos_from")
    assert "u:p" not in str(refused.value)
