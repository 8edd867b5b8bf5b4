"""Verifies every record of a bundle with PyPI's securesystemslib: its DSSE envelopes and its keys.

Usage: envelopes.py BUNDLE. Prints how many envelopes hold.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.serialization import load_der_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey


def key(public):
    der = base64.b64decode(public["spki"])
    return SSlibKey.from_crypto(load_der_public_key(der), keyid=hashlib.sha256(der).hexdigest())


def keys_in(payload):
    """The keys that a payload carries, wherever they stand in it."""
    found = [payload] if isinstance(payload, dict) else payload if isinstance(payload, list) else []
    for each in found:
        if isinstance(each, dict):
            if each.keys() == {"algorithm", "spki"}:
                yield key(each)
            if each.keys() == {"payload", "payloadType", "signatures"}:
                yield from keys_in(json.loads(base64.b64decode(each["payload"])))
            for value in each.values():
                yield from keys_in(value)
        else:
            yield from keys_in(each)


def main():
    with open(sys.argv[1], encoding="utf-8") as bundle:
        header = json.loads(bundle.readline())
        for _ in range(int(header["balances"])):
            bundle.readline()
        keys, count = {}, 0
        for line in bundle:
            envelope = Envelope.from_dict(json.loads(line))
            keys |= {each.keyid: each for each in keys_in(json.loads(envelope.payload))}
            [keyid] = envelope.signatures
            accepted = envelope.verify([keys[keyid]], 1)
            assert accepted.keys() == {keyid}, line
            count += 1
    print(count)


main()
