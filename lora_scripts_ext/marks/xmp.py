"""XMP packets (ISO 16684-1): the one that we write, and the properties in those that we read."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

from . import aigc, iptc
from .label import Label

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
# The byte order mark stands in the packet's header, where it says that the packet is UTF-8.
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    f' <rdf:RDF xmlns:rdf="{_RDF}">\n'
    '  <rdf:Description rdf:about=""\n'
    f'    xmlns:Iptc4xmpExt="{iptc.NAMESPACE}"\n'
    f'    xmlns:{aigc.PREFIX}="{aigc.NAMESPACE}">\n'
    f"   <Iptc4xmpExt:{iptc.PROPERTY}>{{source}}</Iptc4xmpExt:{iptc.PROPERTY}>\n"
    f"   <{aigc.PREFIX}:{aigc.PROPERTY}>{{label}}</{aigc.PREFIX}:{aigc.PROPERTY}>\n"
    "  </rdf:Description>\n"
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="r"?>'
)


def packet(label: Label) -> bytes:
    """The XMP packet of a label: IPTC's digital source type, and the implicit label of GB 45438-2025."""
    return _PACKET.format(source=escape(iptc.uri(label.source)), label=escape(aigc.text(label))).encode("utf-8")


def values(packet: bytes, namespace: str, name: str) -> list[str]:
    """Every value of a simple property, whether it is written as an element or as an attribute.

    A packet that is no XML, or declares a document type (which XMP forbids, and entities could make huge), has none.
    """
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return []
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return []
    found, wanted = [], f"{{{namespace}}}{name}"
    for node in root.iter():
        if node.tag == wanted:
            found.append(node.get(f"{{{_RDF}}}resource") or "".join(node.itertext()).strip())
        if wanted in node.attrib:
            found.append(node.attrib[wanted])
    return found
