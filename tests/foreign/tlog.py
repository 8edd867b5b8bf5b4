"""Holds a log to programs of others: PyPI's aics-tlog for notes, cosignatures, proofs and tiles, pymerkle for roots.

Usage: tlog.py GIVEN. GIVEN is JSON: the log's `origin` and `key` (base64 of 32 bytes), and what is to be verified, each
of it optional: `notes`, each a `note`, its `witnesses` (verifier keys) and how many of them must have cosigned it
(`quorum`); a `bundle`, the path of one, with its checkpoint and its groups' roots, and `inclusion` and `consistency`
proofs of its records as the service gave them; `tiles`, the path of a folder. Prints how many of each hold.
"""

import base64
import json
import sys
from pathlib import Path

from aics_tlog import (
    FileSystemTileReader,
    audit_tiles,
    parse_note,
    parse_vkey,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
    vkey_from_ed25519,
)
from pymerkle import InmemoryTree


def check(holds, what):
    if not holds:
        sys.exit(f"{what} does not hold")


def checkpoint_of(note, key, witnesses=(), quorum=0):
    """What a checkpoint says that the log signed, and enough witnesses cosigned."""
    keys = [parse_vkey(witness) for witness in witnesses]
    verified = verify_checkpoint(parse_note(note), key, keys, quorum, expected_origin=key.name)
    check(verified.ok, f"the checkpoint ({verified.error})")
    return verified


def read_bundle(path, key):
    """The records, and the tree of them, whose root is the checkpoint's."""
    with open(path, encoding="utf-8") as bundle:
        header = json.loads(bundle.readline())
        for _ in range(int(header["balances"])):
            bundle.readline()
        leaves = [line.removesuffix("\n").encode() for line in bundle]
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    signed = checkpoint_of(header["checkpoint"], key)
    check((signed.size, signed.root) == (len(leaves), tree.get_root()), "the bundle's root")
    return leaves, tree


def count_groups(leaves, tree):
    """How many groups state a root, which must be that of all records before them."""
    groups = 0
    for position, leaf in enumerate(leaves):
        envelope = json.loads(leaf)
        if envelope["payloadType"] == "application/vnd.safeconduct.group.v1+json":
            stated = json.loads(base64.b64decode(envelope["payload"]))["root"]
            check(stated == tree.get_root(position).hex(), f"the root of the group at {position}")
            groups += 1
    return groups


def main():
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    key = vkey_from_ed25519(given["origin"], base64.b64decode(given["key"]))
    counts = {}
    for each in given.get("notes", []):
        checkpoint_of(each["note"], key, each["witnesses"], each["quorum"])
        counts["notes"] = counts.get("notes", 0) + 1
    if "bundle" in given:
        leaves, tree = read_bundle(given["bundle"], key)
        counts["groups"] = count_groups(leaves, tree)
        for kind in ("inclusion", "consistency"):
            counts[kind] = len(given.get(kind, []))
        for proof in given.get("inclusion", []):
            position, size = int(proof["position"]), int(proof["size"])
            hashes = [bytes.fromhex(each) for each in proof["hashes"]]
            holds = verify_leaf_inclusion(leaves[position], position, size, hashes, tree.get_root(size))
            check(holds, f"the inclusion of {position} in {size}")
        for proof in given.get("consistency", []):
            old, new = int(proof["from"]), int(proof["to"])
            hashes = [bytes.fromhex(each) for each in proof["hashes"]]
            holds = verify_consistency(old, new, tree.get_root(old), tree.get_root(new), hashes)
            check(holds, f"the consistency of {old} with {new}")
    if "tiles" in given:
        folder = Path(given["tiles"])
        public = checkpoint_of((folder / "checkpoint").read_text(encoding="utf-8"), key)
        has_entries = (folder / "tile/entries").exists()
        report = audit_tiles(FileSystemTileReader(folder), public.size, public.root, entries=has_entries)
        counts |= {"size": report.size, "tiles": report.tiles, "bundles": report.bundles}
    print(json.dumps(counts))


main()
