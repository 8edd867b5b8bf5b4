"""Signs a GET with PyPI's http-message-signatures, once for every order of the parameters.

Usage: http_signatures.py URL KEYID SEED_HEX [SENT_TO]. Prints one line a request: the order of the parameters and the
status. With SENT_TO, what is signed for URL is sent to that one instead.
"""

import itertools
import secrets
import sys
import types
import urllib.error
import urllib.request

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

url, key_id, seed = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
sent_to = sys.argv[4] if len(sys.argv) > 4 else url


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return Ed25519PrivateKey.from_private_bytes(seed)

    def resolve_public_key(self, key_id):
        raise NotImplementedError


class Ordered(HTTPMessageSigner):
    """Writes the parameters in a given order instead of its own."""

    order = ()

    def _build_signature_base(self, message, *, signature_params, **rest):
        ordered = {name: signature_params[name] for name in self.order}
        return super()._build_signature_base(message, signature_params=ordered, **rest)


signer = Ordered(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for order in itertools.permutations(["created", "keyid", "alg", "nonce"]):
    signer.order = order
    request = types.SimpleNamespace(method="GET", url=url, headers={})
    signer.sign(
        request,
        key_id=key_id,
        nonce=secrets.token_hex(16),
        covered_component_ids=("@target-uri", "@method"),
    )
    try:
        with opener.open(urllib.request.Request(sent_to, headers=request.headers)) as response:
            status = response.status
    except urllib.error.HTTPError as error:
        status = error.code
        print(error.read().decode(), file=sys.stderr)
    print(",".join(order), status)
