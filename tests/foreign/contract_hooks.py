"""Hooks for PyPI's schemathesis: signs what it asks, and puts what is there in the place of some of what it makes up.

The environment variable CONTRACT holds, in JSON: the ledger's id; basis; readers and the preparer, each a name, a key id
and a seed; the parameters of paths that exist; and the file that gets how often each operation was answered with each
status. Half of the cases are left as they were generated.
"""

import atexit
import base64
import collections
import json
import os
import random
import secrets
import time
import uuid

import requests
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

given = json.loads(os.environ["CONTRACT"])
choices = random.Random(7)
answers = collections.defaultdict(collections.Counter)


def key_of(person):
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(person["seed"]))


def encoded(data):
    return base64.b64encode(data).decode()


class Signed(requests.auth.AuthBase):
    """RFC 9421, over the URL as it is sent."""

    def __call__(self, request):
        if request.method == "POST":
            return request
        is_agency = "/v1/agency" in request.url
        # Now and then by somebody who may not, or by nobody.
        if choices.random() < 0.1:
            is_agency = not is_agency
        if choices.random() < 0.05:
            return request
        person = given["agency" if is_agency else "reader"]
        parameters = (
            f'("@method" "@target-uri");created={int(time.time())}'
            f';keyid="{person["keyid"]}";nonce="{secrets.token_hex(16)}"'
        )
        base = (
            f'"@method": {request.method}\n"@target-uri": {request.url}\n"@signature-params": {parameters}'
        )
        request.headers["Signature-Input"] = f"a={parameters}"
        request.headers["Signature"] = f"a=:{encoded(key_of(person).sign(base.encode()))}:"
        return request


schemathesis.auth.set_from_requests(Signed())


def uuid7():
    random_part = secrets.randbits(74)
    number = int(time.time() * 1000) << 80 | 7 << 76 | (random_part >> 62) << 64
    return str(uuid.UUID(int=number | 2 << 62 | random_part & (1 << 62) - 1))


def opening():
    """The opening of a case, signed by the preparer."""
    preparer, now = given["preparer"], time.time()
    stamp = lambda seconds: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    reference = secrets.token_hex(8)
    payload = {
        "basis": given["basis"],
        "body": {
            "agency": given["agency"]["name"],
            "agency_ref": f"ref-{reference}",
            "case": f"case-{reference}",
            "entered": "2026-03-01",
            "offer": {"offer": "new-life", "version": "1"},
        },
        "id": uuid7(),
        "issued_at": stamp(now),
        "key": preparer["keyid"],
        "ledger": given["ledger"],
        "not_after": stamp(now + 3600),
        "signer": preparer["name"],
    }
    payload = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    kind = b"application/vnd.safeconduct.case-opening.v1+json"
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = {"keyid": preparer["keyid"], "sig": encoded(key_of(preparer).sign(message))}
    return {"payload": encoded(payload), "payloadType": kind.decode(), "signatures": [signature]}


def is_submission(body):
    return (
        isinstance(body, dict)
        and isinstance(body.get("instructions"), list)
        and all(isinstance(item, dict) and "envelope" in item for item in body["instructions"])
    )


@schemathesis.hook
def before_call(context, case, kwargs):
    if choices.random() < 0.5:
        return
    if is_submission(case.body):
        # One of them is left as it is, where there are more.
        for item in case.body["instructions"][:1] + case.body["instructions"][2:]:
            item["envelope"] = opening()
    for name, value in given["paths"].items():
        if name in (case.path_parameters or {}):
            case.path_parameters[name] = value
    if case.path.startswith("/v1/proofs/"):
        case.query.update(given["proofs"])
        for name in list(case.query):
            if name not in (("position", "size") if "inclusion" in case.path else ("from", "to")):
                del case.query[name]


@schemathesis.hook
def after_call(context, case, response):
    answers[f"{case.operation.method.upper()} {case.operation.path}"][str(response.status_code)] += 1


@atexit.register
def tell():
    with open(given["answers"], "w") as file:
        json.dump(answers, file)
