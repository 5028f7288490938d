#!/usr/bin/env python3
"""Reads `docs/vectors/line.json` with the independent implementation of `reference.py`, and with nothing of the Rust code.

For each connection it makes M1 and M2 from the keys and the randomness that the file gives, and wants the file's bytes; then
the same for `h`, for what the device signs and its signature, for the invite's id and secret, and for each record's plaintext.
The second connection must go on where the first one was cut.

    pip install cryptography kyber-py
    python3 shared/tests/vectors/check.py
"""

import base64
import hmac
import json
import pathlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reference import HandshakeState, KeyPair, sha256

FILE = pathlib.Path(__file__).resolve().parents[3] / "docs/vectors/line.json"


def base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def invite_of(link):
    """Section 11: id and psk, HKDF-SHA-256 of the 32 bytes without salt."""
    secret, server_key = map(base64url, link.split("#i=")[1].split("."))
    pseudorandom = hmac.digest(bytes(32), secret, "sha256")
    identifier, psk = (hmac.digest(pseudorandom, info + b"\x01", "sha256") for info in (b"id", b"psk"))
    return secret, identifier[:16], psk, server_key


def check(wire, file):
    data = {name: bytes.fromhex(value) for name, value in wire.items() if isinstance(value, str) and name != "name"}
    server = KeyPair(bytes.fromhex(file["server_private_key"]))
    prologue = b"duologue/1\x01" + data["m1"][:12]
    assert data["prologue"] == prologue
    assert data["m1"][3:11] == sha256(server.public_key)[:8], "the server's key id"

    client = HandshakeState("initiator", prologue, data["client_randomness"], data["psk"], rs=server.public_key)
    owner = HandshakeState("responder", prologue, data["server_randomness"], data["psk"], s=server)
    m1 = client.write_message(data["m1_payload"])
    assert data["m1"][12:] == m1, "M1"
    assert owner.read_message(m1) == data["m1_payload"]
    m2 = owner.write_message(data["m2_payload"])
    assert data["m2"] == b"\x02" + m2, "M2"
    assert client.read_message(m2) == data["m2_payload"]
    assert data["m1_payload"][0] == wire["credential_kind"] and data["m1_payload"][1:17] == data["credential_id"]
    assert data["m2_payload"][1:33] == data["server_randomness"][96:], "the nonce in M2"
    h = client.symmetric.h
    assert h == owner.symmetric.h == data["handshake_hash"]

    device = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file["device_private_key"]))
    spki = device.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki.hex() == file["device_spki"]
    assert data["signed"] == b"duologue/1 client-auth\0\x01" + h + sha256(spki)
    assert data["signature"] == device.sign(data["signed"])

    keys = dict(zip(["client", "server"], client.symmetric.split()))
    for record in wire["records"]:
        key = keys[record["from"]]
        assert key.n == record["number"]
        plaintext = key.decrypt_with_ad(b"", bytes.fromhex(record["sealed"]))
        assert plaintext.hex() == record["plaintext"]
    auth = bytes.fromhex(wire["records"][0]["plaintext"])
    assert auth[2] == 1 and auth[5 : 5 + len(spki)] == spki and auth[5 + len(spki) :][:64] == data["signature"]
    return data


def evidence_of(data):
    """Sections 4 and 5, behind the type: kind, number, length, data, zeros to 2, 4 or 8 KiB."""
    kind, number, length = data[1], int.from_bytes(data[2:6], "big"), int.from_bytes(data[6:8], "big")
    bucket = next(size for size in (2048, 4096, 8192) if size >= 8 + length)
    assert not any(data[8 + length : bucket])
    return (kind, number, data[8 : 8 + length]), data[bucket:]


def standing_of(data):
    level, flags, evidence, secs = data[0], data[1], int.from_bytes(data[2:6], "big"), int.from_bytes(data[6:10], "big")
    refused, behind = data[11 : 11 + data[10]], data[11 + data[10] :]
    return level, flags, evidence, secs, refused, behind[1 : 1 + behind[0]]


def check_evidence(file):
    """A token on the open line, and a newer one with the AUTH that resumes; what the server tells of each."""
    first, second = (
        {end: [bytes.fromhex(record["plaintext"]) for record in wire["records"] if record["from"] == end] for end in ("client", "server")}
        for wire in file["connections"]
    )
    shown = next(plaintext for plaintext in first["client"] if plaintext[0] == 0x17)
    (kind, number, token), behind = evidence_of(shown)
    assert (kind, number, token) == (1, 1, b"a token") and behind[0] in (0x00, 0x11, 0x14), "a frame, and others behind it"
    told = next(plaintext for plaintext in first["server"] if plaintext[0] == 0x18)
    assert standing_of(told[1:]) == (2, 0, 1, 300, b"", b"ann")
    auth, newer = second["client"][:2]
    assert auth[0] == 3 and auth[1] == 0b011, "RESUME, and one record of evidence"
    assert newer[0] == 0x07 and evidence_of(newer) == ((1, 2, b"a newer token"), b""), "its record has nothing else"
    ok = second["server"][0]
    assert ok[80] == 0 and standing_of(ok[81:]) == (2, 0, 2, 300, b"", b"ann"), "no services are told"
    check_keys(file, ok[81 + 10 + 1 + 1 + 3 :])
    assert not any(first["server"][0][80 + 12 + 1 :]), "no owner's key was told yet"


def check_keys(file, told):
    """Section 4: owner's key, number, server key, signature, the number of the key that the connection was made for."""
    owner, number, key, signature, came_by = told[:64], told[64:68], told[68:100], told[100:164], told[164:168]
    assert (owner.hex(), key.hex()) == (file["owner_public_key"], file["server_public_key"])
    assert number == came_by == bytes([0, 0, 0, 1]) and not any(told[168:])
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + owner)
    point.verify(encode_dss_signature(r, s), b"duologue/1 server-key\0" + number + key, ec.ECDSA(hashes.SHA256()))


def check_renewal(file):
    """Section 11: the device's next key signs the challenge, the key before, and itself."""
    data = {name: bytes.fromhex(value) for name, value in file["renewal"].items()}
    key = Ed25519PrivateKey.from_private_bytes(data["private_key"])
    assert data["spki"] == key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    before = sha256(bytes.fromhex(file["device_spki"]))
    assert data["signed"] == b"duologue/1 device-key\0" + data["challenge"] + before + sha256(data["spki"])
    assert len(data["signed"]) == 118 and data["signature"] == key.sign(data["signed"])


def main():
    file = json.loads(FILE.read_text())
    first, second = (check(wire, file) for wire in file["connections"])
    secret, identifier, psk, server_key = invite_of(file["invite_link"])
    assert (secret.hex(), server_key.hex()) == (file["invite_secret"], file["server_public_key"])
    assert (identifier, psk) == (first["credential_id"], first["psk"])
    oks = (next(record for record in wire["records"] if record["from"] == "server") for wire in file["connections"])
    ok, again = (bytes.fromhex(record["plaintext"]) for record in oks)
    ticket = ok[18:34], ok[34:66]
    assert ticket == (second["credential_id"], second["psk"]), "the ticket of AUTH_OK"
    assert ok[2:18] == again[2:18], "one session"
    check_evidence(file)
    check_renewal(file)
    print("docs/vectors/line.json: as PROTOCOL.md says")


if __name__ == "__main__":
    main()
