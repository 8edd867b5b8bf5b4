"""Holds a log's tree to programs of others: PyPI's pymerkle for roots, sigstore's code for notes and inclusion.

Usage: tree.py BUNDLE ANSWERS. ANSWERS is JSON: the checkpoint's `key` (base64 of 32 bytes), `inclusion` proofs as
the service gave them. Prints how many groups' roots and how many proofs hold.
"""

import base64
import hashlib
import json
import sys
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pymerkle import InmemoryTree
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore.errors import VerificationError


class Keyring:
    """The log's one key, as sigstore asks for it."""

    def __init__(self, raw):
        self.key = Ed25519PublicKey.from_public_bytes(raw)

    def verify(self, *, key_id, signature, data):
        try:
            self.key.verify(signature, data)
        except InvalidSignature as error:
            raise VerificationError(str(error)) from None


def main():
    with open(sys.argv[1], encoding="utf-8") as bundle:
        header = json.loads(bundle.readline())
        for _ in range(int(header["balances"])):
            bundle.readline()
        leaves = [line.removesuffix("\n").encode() for line in bundle]
    with open(sys.argv[2], encoding="utf-8") as given:
        answers = json.load(given)

    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)

    signed = SignedCheckpoint.from_text(header["checkpoint"])
    origin, raw = signed.checkpoint.origin, base64.b64decode(answers["key"])
    key_id = hashlib.sha256(origin.encode() + b"\n\x01" + raw).digest()
    signed.signed_note.verify(Keyring(raw), key_id)
    assert signed.checkpoint.log_size == len(leaves)
    assert signed.checkpoint.log_hash == tree.get_root().hex()
    # The root that each group states is that of all records before it.
    groups = 0
    for position, leaf in enumerate(leaves):
        envelope = json.loads(leaf)
        if envelope["payloadType"] == "application/vnd.safeconduct.group.v1+json":
            stated = json.loads(base64.b64decode(envelope["payload"]))["root"]
            assert stated == tree.get_root(position).hex(), position
            groups += 1

    for proof in answers["inclusion"]:
        position, size = int(proof["position"]), int(proof["size"])
        inclusion = SimpleNamespace(
            log_index=position,
            tree_size=size,
            hashes=[bytes.fromhex(each) for each in proof["hashes"]],
            root_hash=tree.get_root(size),
        )
        inner = SimpleNamespace(inclusion_proof=inclusion, canonicalized_body=leaves[position])
        verify_merkle_inclusion(SimpleNamespace(_inner=inner))
    print(groups, len(answers["inclusion"]))


main()
