"""Whether a page of another site is behind a request."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

_PORTS = {"http": ":80", "https": ":443"}


def same_site(headers: Mapping[str, str]) -> bool:
    """Whether no page of another origin is behind the request; programs other than browsers say nothing of that."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        url = urlsplit(origin)
    except ValueError:
        return False
    port = _PORTS.get(url.scheme, "")
    # A page cannot send X-Forwarded-Host to another origin; a proxy before the server does.
    hosts = [headers.get("host", ""), *headers.get("x-forwarded-host", "").split(",")]
    own = {host.strip().lower().removesuffix(port) for host in hosts if host.strip()}
    return url.netloc.lower().removesuffix(port) in own


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address without port, can only mean this machine."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def names_loopback(host_header: str) -> bool:
    """Whether the Host header names this machine: another name that leads here is one that another site has made up
    for it (DNS rebinding)."""
    try:
        return is_loopback(urlsplit(f"//{host_header}").hostname or "")
    except ValueError:
        return False
