#!/usr/bin/env python3
"""The known answers of `Noise_NKhfs+psk2_25519+MLKEM768_ChaChaPoly_SHA256`: writes `nkhfs_psk2.json`.

No public vectors exist for this suite, so this is a second, independent implementation of it, made from the
specifications alone and as plainly as they are written. It shares nothing with the Rust code but the numbers:

- The Noise Protocol Framework, revision 34: sections 5.1 to 5.3 (CipherState, SymmetricState, HandshakeState),
  9 (pre-shared keys), 11.3 (rekey), 12.1, 12.3 and 12.5 (25519, ChaChaPoly, SHA256).
- KEM-based Hybrid Forward Secrecy for Noise, revision 1: sections 4 and 5 (`e1`, `ekem1`, where they stand).
- FIPS 203, algorithms 16 and 17: ML-KEM-768 from given randomness.
- docs/PROTOCOL.md: the prologue, the lengths of the payloads, what each side draws, when a key is replaced.

The random bytes are not random: they are SHA-256 of labels that say what they are for (see `constant`). Running this
again writes the same file, byte for byte. Both sides of each handshake are computed and compared while it runs.

Usage, from anywhere (written with Python 3.11, cryptography 50.0.2, kyber-py 1.2.0):

    pip install cryptography kyber-py
    python3 shared/tests/vectors/reference.py && git diff --exit-code shared/tests/vectors/nkhfs_psk2.json

For tests only: nothing here runs in constant time, and nothing is wiped.
"""

import copy
import hashlib
import hmac
import json
import pathlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from kyber_py.ml_kem import ML_KEM_768

PROTOCOL_NAME = b"Noise_NKhfs+psk2_25519+MLKEM768_ChaChaPoly_SHA256"
PRE_MESSAGES = {"initiator": [], "responder": ["s"]}
MESSAGE_PATTERNS = [["e", "es", "e1"], ["e", "ee", "ekem1", "psk"]]

HASHLEN = DHLEN = 32
KEMPUBLICKEYLEN = 1184
KEMCIPHERTEXTLEN = 1088
TAGLEN = 16

RANDOMNESS_LEN = 128
PAYLOAD_LEN = 64
REKEY_INTERVAL_RECORDS = 2**16


def sha256(data):
    return hashlib.sha256(data).digest()


def hkdf(chaining_key, input_key_material, num_outputs):
    """Noise, section 4.3."""
    temp_key = hmac.digest(chaining_key, input_key_material, "sha256")
    outputs, last = [], b""
    for i in range(1, num_outputs + 1):
        last = hmac.digest(temp_key, last + bytes([i]), "sha256")
        outputs.append(last)
    return outputs


class GivenRandomness:
    """Hands out given bytes in order, and fails when they are used up."""

    def __init__(self, data):
        self.data = data

    def __call__(self, length):
        assert length <= len(self.data), "more randomness was drawn than one side has"
        drawn, self.data = self.data[:length], self.data[length:]
        return drawn


class KeyPair:
    """Noise, section 4.1 and 12.1: DH functions."""

    def __init__(self, private_key):
        self.private = X25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self.private.public_key().public_bytes_raw()

    def dh(self, public_key):
        return self.private.exchange(X25519PublicKey.from_public_bytes(public_key))


class SmallOrderPoint:
    """What an attacker sends for a public key to know every secret that is agreed with it: zeros."""

    public_key = bytes(DHLEN)

    def dh(self, public_key):
        return bytes(DHLEN)


def kem_with(randomness):
    """ML-KEM-768 that draws from `randomness`: d, then z, for a key; m for an encapsulation (FIPS 203, 7.1 and 7.2)."""
    kem = copy.copy(ML_KEM_768)
    kem.random_bytes = randomness
    return kem


class CipherState:
    """Noise, section 5.1."""

    def __init__(self, k=None):
        self.k, self.n = k, 0

    def encrypt(self, n, ad, plaintext):
        # Section 12.3: 32 bits of zeros, then the little-endian n.
        return ChaCha20Poly1305(self.k).encrypt(bytes(4) + n.to_bytes(8, "little"), plaintext, ad)

    def encrypt_with_ad(self, ad, plaintext):
        if self.k is None:
            return plaintext
        ciphertext = self.encrypt(self.n, ad, plaintext)
        self.n += 1
        return ciphertext

    def decrypt_with_ad(self, ad, ciphertext):
        if self.k is None:
            return ciphertext
        nonce = bytes(4) + self.n.to_bytes(8, "little")
        plaintext = ChaCha20Poly1305(self.k).decrypt(nonce, ciphertext, ad)
        self.n += 1
        return plaintext

    def rekey(self):
        """Section 4.2, REKEY(k): the nonce counter goes on."""
        self.k = self.encrypt(2**64 - 1, b"", bytes(32))[:32]


class SymmetricState:
    """Noise, section 5.2."""

    def __init__(self, protocol_name):
        self.h = protocol_name.ljust(HASHLEN, b"\0") if len(protocol_name) <= HASHLEN else sha256(protocol_name)
        self.ck = self.h
        self.cipher = CipherState()

    def mix_key(self, input_key_material):
        self.ck, temp_k = hkdf(self.ck, input_key_material, 2)
        self.cipher = CipherState(temp_k)

    def mix_hash(self, data):
        self.h = sha256(self.h + data)

    def mix_key_and_hash(self, input_key_material):
        self.ck, temp_h, temp_k = hkdf(self.ck, input_key_material, 3)
        self.mix_hash(temp_h)
        self.cipher = CipherState(temp_k)

    def encrypt_and_hash(self, plaintext):
        ciphertext = self.cipher.encrypt_with_ad(self.h, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext):
        plaintext = self.cipher.decrypt_with_ad(self.h, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self):
        return tuple(CipherState(k) for k in hkdf(self.ck, b"", 2))


class HandshakeState:
    """Noise, section 5.3, with the tokens of this suite."""

    def __init__(self, role, prologue, randomness, psk, s=None, rs=None):
        self.role, self.random, self.psk = role, GivenRandomness(randomness), psk
        self.s, self.rs = s, rs
        self.e = self.re = self.e1 = self.re1 = None
        self.kem = kem_with(self.random)
        self.patterns = list(MESSAGE_PATTERNS)
        self.symmetric = SymmetricState(PROTOCOL_NAME)
        self.symmetric.mix_hash(prologue)
        assert PRE_MESSAGES == {"initiator": [], "responder": ["s"]}
        self.symmetric.mix_hash(self.rs if role == "initiator" else self.s.public_key)

    def generate_keypair(self):
        return KeyPair(self.random(DHLEN))

    def mix_public_ephemeral(self, public_key):
        self.symmetric.mix_hash(public_key)
        # Section 9.2: in every handshake with a "psk" token, also where the token comes later.
        self.symmetric.mix_key(public_key)

    def mix_dh(self, token):
        ours = token if self.role == "initiator" else token[::-1]
        local = {"e": self.e, "s": self.s}[ours[0]]
        remote = {"e": self.re, "s": self.rs}[ours[1]]
        self.symmetric.mix_key(local.dh(remote))

    def encrypted_len(self, length):
        return length if self.symmetric.cipher.k is None else length + TAGLEN

    def write_message(self, payload):
        message = b""
        for token in self.patterns.pop(0):
            if token == "e":
                self.e = self.generate_keypair()
                message += self.e.public_key
                self.mix_public_ephemeral(self.e.public_key)
            elif token == "e1":
                self.e1 = self.kem.keygen()
                message += self.symmetric.encrypt_and_hash(self.e1[0])
            elif token == "ekem1":
                kem_output, ciphertext = self.kem.encaps(self.re1)
                message += self.symmetric.encrypt_and_hash(ciphertext)
                self.symmetric.mix_key(kem_output)
            elif token == "psk":
                self.symmetric.mix_key_and_hash(self.psk)
            else:
                self.mix_dh(token)
        return message + self.symmetric.encrypt_and_hash(payload)

    def read_message(self, message):
        def take(length):
            nonlocal message
            assert len(message) >= length
            part, message = message[:length], message[length:]
            return part

        for token in self.patterns.pop(0):
            if token == "e":
                self.re = take(DHLEN)
                self.mix_public_ephemeral(self.re)
            elif token == "e1":
                self.re1 = self.symmetric.decrypt_and_hash(take(self.encrypted_len(KEMPUBLICKEYLEN)))
            elif token == "ekem1":
                ciphertext = self.symmetric.decrypt_and_hash(take(self.encrypted_len(KEMCIPHERTEXTLEN)))
                self.symmetric.mix_key(self.kem.decaps(self.e1[1], ciphertext))
            elif token == "psk":
                self.symmetric.mix_key_and_hash(self.psk)
            else:
                self.mix_dh(token)
        return self.symmetric.decrypt_and_hash(message)


def constant(label, length):
    """Bytes that anyone can make again: SHA-256(label ‖ 0x00) ‖ SHA-256(label ‖ 0x01) ‖ …, cut to length."""
    blocks = (sha256(label.encode() + bytes([i])) for i in range(-(-length // HASHLEN)))
    return b"".join(blocks)[:length]


def records_of(key, label):
    """The first records of one direction, and those on both sides of the first rekey; and the key after it."""
    cipher, records, rekeyed_at = CipherState(key), [], REKEY_INTERVAL_RECORDS
    for number, length in [(0, 0), (1, 100), (rekeyed_at - 1, 64), (rekeyed_at, 64), (rekeyed_at + 1, 1)]:
        if number == rekeyed_at:
            cipher.rekey()
        cipher.n = number
        plaintext = constant(f"{label} record {number}", length)
        sealed = cipher.encrypt_with_ad(b"", plaintext)
        records.append({"number": number, "plaintext": plaintext.hex(), "sealed": sealed.hex()})
    return records, cipher.k


def known_answer(name, psk):
    server = KeyPair(server_private_key := constant(f"{name}: server private key", DHLEN))
    server_key_id = sha256(server.public_key)[:8]
    m1_header = bytes([0x01, 0x01, 0x01]) + server_key_id + bytes([0x00])
    prologue = b"duologue/1" + bytes([0x01]) + m1_header

    client_randomness = constant(f"{name}: client randomness", RANDOMNESS_LEN)
    server_randomness = constant(f"{name}: server randomness", RANDOMNESS_LEN)

    def client():
        return HandshakeState("initiator", prologue, client_randomness, psk, rs=server.public_key)

    def owner_of_the_key():
        return HandshakeState("responder", prologue, server_randomness, psk, s=server)

    initiator, responder = client(), owner_of_the_key()
    m1_payload = constant(f"{name}: M1 payload", PAYLOAD_LEN)
    m2_payload = constant(f"{name}: M2 payload", PAYLOAD_LEN)
    m1_noise = initiator.write_message(m1_payload)
    assert responder.read_message(m1_noise) == m1_payload
    m2_noise = responder.write_message(m2_payload)
    assert initiator.read_message(m2_noise) == m2_payload

    assert initiator.symmetric.h == responder.symmetric.h
    key_c2s, key_s2c = (state.k for state in initiator.symmetric.split())
    assert (key_c2s, key_s2c) == tuple(state.k for state in responder.symmetric.split())

    # Messages that authenticate and must be refused all the same.
    evil = client()
    evil.generate_keypair = SmallOrderPoint
    m1_small_order = evil.write_message(m1_payload)
    evil = client()
    evil.kem.keygen = lambda: (b"\xff" * KEMPUBLICKEYLEN, b"")  # Every coefficient is 4095, and q is 3329.
    m1_malformed_key = evil.write_message(m1_payload)
    evil = owner_of_the_key()
    evil.generate_keypair = SmallOrderPoint
    evil.read_message(m1_noise)
    m2_small_order = evil.write_message(m2_payload)

    records_c2s, rekeyed_c2s = records_of(key_c2s, f"{name}: client to server")
    records_s2c, rekeyed_s2c = records_of(key_s2c, f"{name}: server to client")
    values = {
        "prologue": prologue,
        "server_private_key": server_private_key,
        "server_public_key": server.public_key,
        "client_randomness": client_randomness,
        "server_randomness": server_randomness,
        "psk": psk,
        "m1_payload": m1_payload,
        "m1_noise": m1_noise,
        "m2_payload": m2_payload,
        "m2_noise": m2_noise,
        "m1_small_order": m1_small_order,
        "m1_malformed_key": m1_malformed_key,
        "m2_small_order": m2_small_order,
        "h": initiator.symmetric.h,
        "key_c2s": key_c2s,
        "key_s2c": key_s2c,
        "rekeyed_c2s": rekeyed_c2s,
        "rekeyed_s2c": rekeyed_s2c,
    }
    hexes = {field: value.hex() for field, value in values.items()}
    return {"name": name, **hexes, "records_c2s": records_c2s, "records_s2c": records_s2c}


def refuses_another_psk():
    """The reference itself must be able to fail, or its agreement with itself would say nothing."""
    server = KeyPair(constant("self-check server", DHLEN))
    initiator = HandshakeState("initiator", b"", constant("a", RANDOMNESS_LEN), bytes(32), rs=server.public_key)
    responder = HandshakeState("responder", b"", constant("b", RANDOMNESS_LEN), b"\1" * 32, s=server)
    responder.read_message(initiator.write_message(b""))
    try:
        initiator.read_message(responder.write_message(b""))
    except InvalidTag:
        return True
    return False


def main():
    assert refuses_another_psk()
    answers = {
        "protocol_name": PROTOCOL_NAME.decode(),
        "cases": [
            known_answer("with a secret", constant("with a secret: psk", 32)),
            known_answer("without a secret", bytes(32)),
        ],
    }
    path = pathlib.Path(__file__).with_name("nkhfs_psk2.json")
    path.write_bytes((json.dumps(answers, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
