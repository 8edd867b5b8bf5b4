"""Verifies the records of an audit bundle with nothing of ours: Python, its JSON, and PyPI's cryptography.

Usage: dsse_verify.py BUNDLE LEDGER_ID. Checks that the first record is the ledger's founding, the signature of every
record by a key that an earlier record carries, that every envelope and payload is canonical JSON, and that the signed
checkpoint is over the root of all records. Prints how many records there are; else says what is wrong, and fails.
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key


def refuse(what):
    sys.exit(f"refused: {what}")


def canonical(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def pae(payload_type, payload):
    """DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def add_key(keys, public):
    der = base64.b64decode(public["spki"], validate=True)
    keys[hashlib.sha256(der).hexdigest()] = load_der_public_key(der)


def opened(envelope, keys):
    """The payload of an envelope whose signature holds, and the digest that names it."""
    payload = base64.b64decode(envelope["payload"], validate=True)
    message = pae(envelope["payloadType"], payload)
    [signature] = envelope["signatures"]
    key = keys.get(signature["keyid"]) or refuse("a key that no earlier record carries")
    key.verify(base64.b64decode(signature["sig"], validate=True), message)
    value = json.loads(payload)
    if canonical(value) != payload:
        refuse("a payload that is not canonical")
    return value, hashlib.sha256(message).hexdigest()


def kind_of(envelope):
    return envelope["payloadType"].removeprefix("application/vnd.safeconduct.").removesuffix(".v1+json")


def carried(envelope, keys):
    """Takes the keys that a founding record carries, before it is verified with one of them."""
    founding = json.loads(base64.b64decode(envelope["payload"]))["body"]
    for public in [one["key"] for one in founding["custodians"]] + [founding["record_key"]]:
        add_key(keys, public)
    return founding


def root(hashes):
    """RFC 6962's tree hash."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root(hashes[:split]) + root(hashes[split:])).digest()


def check_checkpoint(note, founding, size, tree):
    """A C2SP signed note over a C2SP tlog-checkpoint."""
    text, signatures = note.rsplit("\n\n", 1)
    expected = [founding["origin"], str(size), base64.b64encode(tree).decode()]
    if text.split("\n") != expected:
        refuse("a checkpoint of another log, size or root")
    dash, name, blob = signatures.rstrip("\n").split(" ")
    raw = base64.b64decode(founding["checkpoint_key"]["spki"], validate=True)[-32:]
    identity = hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4]
    blob = base64.b64decode(blob, validate=True)
    if (dash, name, blob[:4]) != ("\u2014", founding["origin"], identity):
        refuse("a checkpoint that is signed by another key")
    Ed25519PublicKey.from_public_bytes(raw).verify(blob[4:], text.encode() + b"\n")


with open(sys.argv[1], "rb") as file:
    lines = file.read().split(b"\n")
header = json.loads(lines[0])
records = lines[1 + int(header["balances"]) : -1]
if len(records) != int(header["records"]) or lines[-1]:
    refuse("another number of records than the header says")
keys, founding, last = {}, None, None
for position, leaf in enumerate(records):
    try:
        envelope = json.loads(leaf)
        if canonical(envelope) != leaf:
            refuse(f"record {position} is not canonical")
        founding = founding or carried(envelope, keys)
        value, digest = opened(envelope, keys)
        if position == 0 and digest != sys.argv[2]:
            refuse("the founding of another ledger")
        act = value["body"]["act"] if kind_of(envelope) == "proposal" else {}
        for possession in act.get("enrol", {}).get("possessions", []):
            new = {}
            add_key(new, json.loads(base64.b64decode(possession["payload"]))["key"])
            opened(possession, new)
            keys.update(new)
    except InvalidSignature:
        refuse(f"record {position} has a signature that does not hold")
try:
    tree = root([hashlib.sha256(b"\x00" + leaf).digest() for leaf in records])
    check_checkpoint(header["checkpoint"], founding, len(records), tree)
except InvalidSignature:
    refuse("the checkpoint has a signature that does not hold")
print(len(records))
