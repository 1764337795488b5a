"""Content Credentials, signed with a certificate made for the test; read back by the C2PA project's own reader."""

import datetime
import json
import sys

import pytest
from PIL import Image

from lora_scripts_ext import marks
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.marks import c2pa
from lora_scripts_ext.marks.c2pa import Credentials

LABEL = marks.Label("compositeWithTrainedAlgorithmicMedia", "Shop", "1")
IMAGE = Image.linear_gradient("L").convert("RGB")


@pytest.fixture(scope="module")
def credentials(tmp_path_factory):
    """A certificate for signing documents, issued by another one, and its key."""
    pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    pytest.importorskip("cryptography", reason="cryptography, which makes the certificate, is not installed")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("credentials")
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = [certificate("Signer", key, "Root", root_key), certificate("Root", root_key, "Root", root_key)]
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(pem) for one in chain))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return Credentials(folder / "chain.pem", folder / "key.pem")


def certificate(subject, key, issuer, issuer_key):
    """As C2PA 2.1, 14.5 wants it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text):
        parts = ((NameOID.ORGANIZATION_NAME, "Shop"), (NameOID.COMMON_NAME, text))
        return x509.Name([x509.NameAttribute(*part) for part in parts])

    now, is_root = datetime.datetime.now(datetime.timezone.utc), subject == issuer
    unused = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    usage = x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **unused)
    made = (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(is_root, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if not is_root:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return made.sign(issuer_key, hashes.SHA256())


@pytest.mark.parametrize(("form", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_a_signed_file_is_valid_and_keeps_its_marks(form, extension, credentials, tmp_path):
    from c2pa import Reader

    path = tmp_path / f"a.{extension}"
    marks.write(IMAGE, path, form, label=LABEL, parameters="Steps: 20", credentials=credentials)
    with Reader(str(path)) as reader:
        # The certificate is nobody's whom the reader trusts, but everything else holds.
        assert reader.get_validation_state() == "Valid"
        manifest = json.loads(reader.json())
    (actions,) = next(iter(manifest["manifests"].values()))["assertions"]
    assert actions["data"]["actions"] == [
        {
            "action": "c2pa.created",
            "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia",
        }
    ]
    found = marks.read(path)
    assert (found.labels, found.sources, found.parameters) == (1, (LABEL.source,), "Steps: 20")


def test_credentials_that_do_not_fit_are_named(credentials, tmp_path):
    for wrong, sentence in (
        (Credentials(credentials.certificate, credentials.key, "es384"), "cannot be signed with"),
        (Credentials(credentials.key, credentials.key), "cannot be signed with"),
        (Credentials(credentials.certificate, credentials.key, "rsa"), "expected one of es256"),
        (Credentials(credentials.certificate, tmp_path / "none.pem"), r"none\.pem cannot be read"),
    ):
        with pytest.raises(UserError, match=sentence):
            marks.write(IMAGE, tmp_path / "a.png", "PNG", label=LABEL, credentials=wrong)
        with pytest.raises(UserError, match=sentence):
            c2pa.check(wrong)
    c2pa.check(credentials)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_and_costs_only_the_signature(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(UserError, match="pip install c2pa-python"):
        wanted = Credentials(tmp_path / "chain.pem", tmp_path / "key.pem")
        marks.write(IMAGE, tmp_path / "a.png", "PNG", label=LABEL, credentials=wanted)
    marks.write(IMAGE, tmp_path / "a.png", "PNG", label=LABEL)
    assert marks.read(tmp_path / "a.png").labels == 1
