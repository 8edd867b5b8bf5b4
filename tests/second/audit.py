"""A second audit of a bundle, written from docs/spec alone and sharing nothing with the crates.

    audit.py BUNDLE... --ledger ID [--json]

Prints one verdict a bundle. Exits with 0 if all are verified, 1 if one is refuted, 2 if one could not be read.
"""

import argparse
import base64
import datetime
import hashlib
import hmac
import json
import re
import sys
import unicodedata
from collections import namedtuple
from dataclasses import dataclass, field
from functools import lru_cache, partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Flaw(Exception):
    """What is wrong, by its code in docs/spec/bundle.md or docs/errors.md."""

    def __init__(self, code, reason=""):
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Invalid(Exception):
    """A value is not of its form."""


def demand(condition, code, reason=""):
    if not condition:
        raise Flaw(code, reason)


def expect(condition, reason):
    if not condition:
        raise Invalid(reason)


# --- canonical JSON: objects, arrays and strings only ---

BLANK = " \t\n\r"
LEVELS = 8
STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
TO_ESCAPE = re.compile(r'["\\\x00-\x1f]')
UNESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
ESCAPES = {value: "\\" + name for name, value in UNESCAPED.items() if name != "/"}


def parse_json(data):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("not UTF-8") from None
    value, at = parse_value(text, skip(text, 0), 1)
    expect(skip(text, at) == len(text), "something follows the JSON")
    return value


def skip(text, at):
    while at < len(text) and text[at] in BLANK:
        at += 1
    return at


def parse_value(text, at, level):
    if text.startswith('"', at):
        return parse_string(text, at)
    opening = text[at : at + 1]
    expect(opening in ("{", "["), "neither object nor array nor string")
    expect(level <= LEVELS, "too deep")
    closing, value = ("}", {}) if opening == "{" else ("]", [])
    at = skip(text, at + 1)
    if text.startswith(closing, at):
        return value, at + 1
    while True:
        if closing == "}":
            name, at = parse_string(text, at)
            expect(name not in value, f"{name} twice")
            at = skip(text, at)
            expect(text.startswith(":", at), "no colon")
            value[name], at = parse_value(text, skip(text, at + 1), level + 1)
        else:
            item, at = parse_value(text, at, level + 1)
            value.append(item)
        at = skip(text, at)
        if text.startswith(closing, at):
            return value, at + 1
        expect(text.startswith(",", at), "no comma")
        at = skip(text, at + 1)


def parse_string(text, at):
    found = STRING.match(text, at)
    expect(found, "no string")
    value = found[1]
    if "\\" in value:
        value = ESCAPED.sub(lambda m: chr(int(m[1], 16)) if m[1] else UNESCAPED[m[2]], value)
        try:
            value = value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise Invalid("half a surrogate pair") from None
    return value, found.end()


def canonical(value):
    return encode_json(value).encode("utf-8")


def encode_json(value):
    if isinstance(value, str):
        return '"' + TO_ESCAPE.sub(lambda m: ESCAPES.get(m[0]) or f"\\u{ord(m[0]):04x}", value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(encode_json, value)) + "]"
    members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
    return "{" + ",".join(f"{encode_json(name)}:{encode_json(item)}" for name, item in members) + "}"


# --- forms: functions from JSON to what it means, or Invalid ---

MAX_INTEGER = 2**63 - 1
MAX_MAJOR = 10**15
HIDDEN = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
EPOCH = datetime.datetime(1970, 1, 1)
MINOR_UNITS = {
    code: units
    for units, codes in {
        0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
        2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
        "CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG "
        "HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK "
        "MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE "
        "SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD YER ZAR ZMW ZWG",
        3: "BHD IQD JOD KWD LYD OMR TND",
        4: "CLF UYW",
    }.items()
    for code in codes.split()
}
Money = namedtuple("Money", "minor currency")
PublicKey = namedtuple("PublicKey", "id raw")


def pattern(regex):
    compiled = re.compile(regex)

    def form(value):
        expect(isinstance(value, str) and compiled.fullmatch(value), f"not of the form {regex}")
        return value

    return form


def one_of(*values):
    def form(value):
        expect(isinstance(value, str) and value in values, f"not one of {values}")
        return value

    return form


def list_of(item):
    def form(value):
        expect(isinstance(value, list), "not an array")
        return [item(each) for each in value]

    return form


def obj(members, optional=()):
    def form(value):
        expect(isinstance(value, dict), "not an object")
        for name in value:
            expect(name in members, f"a member {name} too many")
        for name in members:
            expect(name in value or name in optional, f"no member {name}")
        return {name: members[name](item) for name, item in value.items()}

    return form


def choice(members):
    def form(value):
        expect(isinstance(value, dict) and len(value) == 1, "not a choice")
        ((name, contents),) = value.items()
        expect(name in members, f"no choice {name}")
        return name, members[name](contents)

    return form


def integer(value):
    expect(isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,18}", value), "not an integer")
    expect(int(value) <= MAX_INTEGER, "too large an integer")
    return int(value)


def amount(text, currency, signed=False):
    expect(isinstance(currency, str) and currency in MINOR_UNITS, "not a currency")
    units = MINOR_UNITS[currency]
    decimals = rf"\.[0-9]{{{units}}}" if units else ""
    sign = "-?" if signed else ""
    expect(isinstance(text, str) and re.fullmatch(rf"{sign}(0|[1-9][0-9]*){decimals}", text), "not an amount")
    minor = int(text.replace(".", ""))
    expect(minor != 0 or text[0] != "-", "minus zero")
    expect(abs(minor) <= most_minor(currency), "too large an amount")
    return Money(minor, currency)


def most_minor(currency):
    return min(MAX_MAJOR * 10 ** MINOR_UNITS[currency] - 1, MAX_INTEGER)


def money(value):
    expect(isinstance(value, dict) and sorted(value) == ["amount", "currency"], "not money")
    return amount(value["amount"], value["currency"])


def show(minor, currency):
    units = MINOR_UNITS[currency]
    digits = str(abs(minor)).rjust(units + 1, "0")
    sign = "-" if minor < 0 else ""
    return sign + (f"{digits[:-units]}.{digits[-units:]}" if units else digits)


def time(value):
    expect(
        isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", value),
        "not a time",
    )
    try:
        return (datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ") - EPOCH) // datetime.timedelta(seconds=1)
    except ValueError:
        raise Invalid("no such time") from None


def day(value):
    expect(isinstance(value, str) and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value), "not a day")
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        raise Invalid("no such day") from None
    return value


def show_time(seconds):
    moment = EPOCH + datetime.timedelta(seconds=seconds)
    return moment.isoformat() + "Z"


def show_day(seconds):
    return show_time(seconds)[:10]


def text(value):
    expect(isinstance(value, str) and 1 <= len(value) <= 500, "not a text of 1 to 500 characters")
    expect(unicodedata.is_normalized("NFC", value), "not NFC")
    expect(not any(unicodedata.category(each) == "Cc" for each in value), "a control character")
    expect(not HIDDEN.search(value), "a hidden character")
    return value


def base64_bytes(value):
    expect(isinstance(value, str), "not base64")
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError:
        raise Invalid("not base64") from None
    expect(base64.b64encode(data).decode() == value, "not the one base64")
    return data


SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")


def public_key(value):
    members = obj({"algorithm": one_of("ed25519"), "spki": base64_bytes})(value)
    spki = members["spki"]
    expect(len(spki) == 44 and spki.startswith(SPKI_PREFIX), "not the DER of an Ed25519 key")
    expect(is_strict_point(spki[12:]), "not a public key")
    return PublicKey(hashlib.sha256(spki).hexdigest(), spki[12:])


def raw(value):
    return value


digest = pattern("[0-9a-f]{64}")
ident = pattern("[a-z0-9_-]{1,64}")
hold_id = pattern("[a-z0-9_.-]{1,96}")
entry_id = pattern("[0-9a-f]{64}-0")
token = pattern("[a-z0-9./_-]{1,100}")
uuid7 = pattern("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
currency_code = one_of(*MINOR_UNITS)
role = one_of(
    "agency", "approver", "auditor", "custodian", "director", "payer", "preparer", "reconciler", "screener", "service"
)
evidence = obj({"holder": ident, "kind": text, "sha256": digest})
channel = choice({"manual": obj({})})
offer_version = obj({"offer": ident, "version": integer})
benefit_kind = choice({"cash": obj({"amount": money}), "in-kind": obj({"ceiling": money})})
band = obj({"approvers": integer, "directors": integer, "up_to": money})
part = obj({"amount": money, "body": ident})
SETTINGS = (
    "bank_report_persons basis_age_s expiry_max_s gap_s lapse_grace_s quorum_delay_s receipt_persons skew_s".split()
)
policy = obj(
    {"bands": list_of(band), "channels": list_of(one_of("manual"))} | {name: integer for name in SETTINGS}
)
act = choice(
    {
        "enrol": obj({"possessions": list_of(raw), "principal": ident, "roles": list_of(role)}),
        "policy": obj({"policy": policy}),
        "revoke": obj({"key": digest, "reason": text}),
        "roles": obj({"principal": ident, "roles": list_of(role)}),
    }
)
effect = obj(
    {
        "amount": money, "benefit": ident, "channel": channel, "disbursement": ident, "expires": time, "fund": ident,
        "most": money, "offer": offer_version, "policy": integer, "preparer": ident, "request": digest,
    }
)  # fmt: skip
custody = {"amount": money, "bank": ident, "evidence": evidence, "fund": ident, "value_date": day}
refused = {"disbursement": ident, "reason": text, "request": digest}
BODIES = {
    "acceptance": {},
    "proposal": {"act": act},
    "concurrence": {"proposal": digest},
    "veto": {"proposal": digest, "reason": text},
    "asset-registration": {"asset": ident, "description": text, "instrument": evidence},
    "fund-opening": {
        "asset": ident, "currency": currency_code, "fund": ident, "kind": one_of("fiduciary", "spendable"),
    },
    "bank-opening": {"bank": ident, "currency": currency_code},
    "restraint": {"amount": money, "fund": ident, "instrument": evidence},
    "custody": custody,
    "custody-interest": custody,
    "forfeiture": {
        "bank": ident, "claims": list_of(part), "costs": list_of(part), "fund": ident, "gross": money,
        "instrument": evidence, "to_bank": ident, "to_fund": ident, "value_date": day,
    },
    "claim-payment": custody | {"body": ident, "kind": one_of("claimant", "cost", "other-body")},
    "windfall-income": {
        "bank": ident, "evidence": evidence, "fund": ident, "own": money, "retained": money, "shares": list_of(part),
        "shares_fund": ident, "value_date": day,
    },
    "bank-fee": custody,
    "countersignature": {"report": digest},
    "reversal": {"entry": entry_id, "reason": text, "subject": choice({"disbursement": ident, "fact": digest})},
    "offer": {
        "benefits": list_of(obj({"benefit": ident, "kind": benefit_kind})), "offer": ident, "valid_from": day,
        "version": integer,
    },
    "case-opening": {"agency": ident, "agency_ref": ident, "case": ident, "entered": day, "offer": offer_version},
    "screening": {"case": ident, "evidence": evidence, "outcome": one_of("cleared", "refused"), "person": digest},
    "request": {
        "amount": money, "benefit": ident, "case": ident, "channel": channel, "disbursement": ident, "expires": time,
        "fund": ident, "occurrence": integer, "offer": offer_version, "salt": digest,
    },
    "approval": {"effect": effect},
    "rejection": refused,
    "cancellation": refused,
    "delivery": {
        "delivered": day, "disbursement": ident, "evidence": evidence, "invoiced": money, "vendor": ident,
    },
    "release": {"bank": ident, "disbursement": ident, "request": digest},
    "bank-confirmation": {"disbursement": ident, "evidence": evidence, "value_date": day},
    "bank-rejection": {"disbursement": ident, "evidence": evidence},
    "bank-return": {"disbursement": ident, "evidence": evidence, "kept": money, "value_date": day},
}  # fmt: skip
FRAME = {
    "basis": obj({"root": digest, "size": integer}), "id": uuid7, "issued_at": time, "key": digest, "ledger": digest,
    "not_after": time, "signer": ident,
}  # fmt: skip
CHARTER = {
    "checkpoint_key": public_key, "currencies": list_of(currency_code),
    "custodians": list_of(obj({"key": public_key, "principal": ident})), "origin": token, "policy": policy,
    "quorum": integer, "record_key": public_key, "witness_threshold": integer, "witnesses": list_of(public_key),
}  # fmt: skip


def line(value):
    optional = ("hold",)
    names = {"account": account, "action": raw, "amount": raw, "currency": raw, "fund": ident, "hold": hold_id}
    members = obj(names, optional)(value)
    action = one_of("debit", "credit", "hold", "post-hold", "void-hold")(value["action"])
    expect(("hold" in value) == action.endswith("hold"), "a hold where none is, or none")
    expect(amount(value["amount"], value["currency"]).minor > 0, "an amount that is not above zero")
    return members


def account(value):
    expect(isinstance(value, str) and side(value), "no account of the chart")
    return value


POSSESSION = obj({"key": public_key, "ledger": digest, "principal": ident})
LEDGERS = {
    "group": obj(
        {
            "epoch": token, "first": integer, "ledger": digest, "recorded_at": time, "root": digest, "rules": integer,
        }
    ),
    "entry": obj(
        {
            "authority": list_of(digest), "benefit": ident, "case_commitment": digest, "disbursement": ident,
            "effective": day, "id": entry_id, "ledger": digest, "lines": list_of(line), "reverses": entry_id,
        },
        ("benefit", "case_commitment", "disbursement", "reverses"),
    ),
    "lapse": obj({"disbursement": ident, "expired": time, "ledger": digest, "request": digest}),
}  # fmt: skip
PAYLOADS = (
    {kind: obj(FRAME | {"body": obj(body)}) for kind, body in BODIES.items()}
    | LEDGERS
    | {"founding": obj({"body": obj(CHARTER), "id": uuid7, "issued_at": time, "key": digest, "signer": ident})}
)

# --- the chart of accounts ---

SUBS = {
    "1100": "", "1150": "", "2500": "", "2600": "", "2300": "", "7210": "", "8100": "", "8200": "",
    "1200": "asset-costs depository disbursement vendor", "1300": "agent imprest vendor",
    "2100": "claimant cost disbursement other-body owner vendor", "2200": "agent bank",
}  # fmt: skip
BARE = "3100 4101 4102 4103 4104 4105 4106 4107 4108 5101 5102 5103 5104 5105 5106 5107 5108 5109 5110 6100 7100 7200 \
7300 7400 7500 7900 8900".split()
DEBIT = "1100 1150 1200 1300 6100 7100 7900 8100 8200".split()
UNLIMITED = "2500 3100 6100 8900".split()
M = "7210/main"


@lru_cache(4096)
def side(name):
    """`debit` or `credit`, or nothing where the chart has no such account."""
    code, *subs = name.split("/")
    kinds = SUBS.get(code)
    known = (
        code in BARE and not subs
        or kinds == "" and len(subs) == 1
        or bool(kinds) and len(subs) == 2 and subs[0] in kinds.split()
    )  # fmt: skip
    if not known or subs and not re.fullmatch("[a-z0-9_-]{1,64}", subs[-1]):
        return None
    return "debit" if code in DEBIT or code[0] == "5" else "credit"


def is_limited(name):
    code = name[:4]
    return code not in UNLIMITED and code[0] not in "45"


def plane(name):
    return {"7": "budget", "8": "memo"}.get(name[0], "proprietary")


# --- signatures ---

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Y8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
SMALL_Y = (0, 1, P - 1, Y8, P - Y8)


def is_strict_encoding(point):
    y = int.from_bytes(point, "little") & (2**255 - 1)
    return y < P and y not in SMALL_Y


@lru_cache(4096)
def is_strict_point(point):
    y = int.from_bytes(point, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return is_strict_encoding(point) and pow(square, (P - 1) // 2, P) == 1


@lru_cache(65536)
def is_signature(key, message, signature):
    if int.from_bytes(signature[32:], "little") >= L or not is_strict_encoding(signature[:32]):
        return False
    if not is_strict_point(key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


# --- records ---

Record = namedtuple("Record", "kind payload json keyid signature encoding digest leaf")
PREFIX, SUFFIX = "application/vnd.safeconduct.", ".v1+json"


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def parse_envelope(envelope):
    """Payload type, payload, key id and signature of an envelope's JSON."""
    demand(isinstance(envelope, dict), "envelope_not_json")
    signatures = envelope.get("signatures", [])
    demand(isinstance(signatures, list) and all(isinstance(each, dict) for each in signatures), "envelope_not_json")
    for members, names in [(envelope, {"payload", "payloadType", "signatures"})] + [
        (each, {"keyid", "sig"}) for each in signatures
    ]:
        demand(set(members) <= names, "envelope_field_unknown")
        demand(set(members) == names, "envelope_field_missing")
    demand(len(signatures) == 1, "envelope_signature_count")
    keyid, sig = signatures[0]["keyid"], signatures[0]["sig"]
    kind, payload = envelope["payloadType"], envelope["payload"]
    demand(all(isinstance(each, str) for each in (keyid, sig, kind, payload)), "envelope_not_json")
    demand(re.fullmatch("[0-9a-f]{64}", keyid), "envelope_keyid")
    try:
        payload, signature = base64_bytes(payload), base64_bytes(sig)
    except Invalid:
        raise Flaw("envelope_base64") from None
    demand(len(signature) == 64, "envelope_signature_length")
    demand(re.fullmatch("[\x20-\x7e]{1,255}", kind), "envelope_payload_type")
    return kind, payload, keyid, signature


def pre_authentication(kind, payload):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def parse_payload(payload, form):
    try:
        value = parse_json(payload)
        meant = form(value)
    except Invalid as invalid:
        raise Flaw("payload_invalid", str(invalid)) from None
    demand(canonical(value) == payload, "payload_not_canonical")
    return meant


@lru_cache(65536)
def parse_record(leaf):
    demand(len(leaf) <= 65000, "envelope_too_large")
    try:
        envelope = parse_json(leaf)
    except Invalid as invalid:
        raise Flaw("envelope_not_json", str(invalid)) from None
    payload_type, payload, keyid, signature = parse_envelope(envelope)
    demand(canonical(envelope) == leaf, "envelope_not_canonical")
    kind = payload_type.removeprefix(PREFIX).removesuffix(SUFFIX)
    demand(payload_type == PREFIX + kind + SUFFIX and kind in PAYLOADS, "payload_type_unknown", payload_type)
    meant = parse_payload(payload, PAYLOADS[kind])
    demand(meant.get("key", keyid) == keyid, "payload_key_mismatch")
    encoding = pre_authentication(payload_type, payload)
    return Record(kind, meant, payload, keyid, signature, encoding, sha256(encoding).hex(), sha256(b"\0", leaf))


def parse_possession(envelope):
    """The key of a possession, whether it is signed by that key, and what it says."""
    kind, payload, keyid, signature = parse_envelope(envelope)
    demand(kind == PREFIX + "key-possession" + SUFFIX, "payload_type_unknown")
    says = parse_payload(payload, POSSESSION)
    signed = keyid == says["key"].id and is_signature(says["key"].raw, pre_authentication(kind, payload), signature)
    return says, signed


# --- the log ---


class Tree:
    """The roots of the full subtrees, largest first, with their sizes."""

    def __init__(self):
        self.peaks = []
        self.size = 0

    def append(self, leaf):
        size, node = 1, leaf
        while self.peaks and self.peaks[-1][0] == size:
            node = sha256(b"\1", self.peaks.pop()[1], node)
            size *= 2
        self.peaks.append((size, node))
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha256()
        *rest, (_, node) = self.peaks
        for _, left in reversed(rest):
            node = sha256(b"\1", left, node)
        return node


def parse_checkpoint(note):
    """Origin, size, root, the signed text and the signatures (name, key hash, signature)."""
    found = re.fullmatch(r"((\S+)\n(0|[1-9][0-9]*)\n(\S+)\n)\n((?:\u2014 \S+ \S+\n)+)", note)
    expect(found, "not a checkpoint")
    signed, origin, size, root, lines = found.groups()
    root = base64_bytes(root)
    expect(len(root) == 32, "not a root")
    signatures = []
    for each in lines.splitlines():
        _, name, blob = each.split(" ")
        blob = base64_bytes(blob)
        expect(len(blob) > 4, "not a signature")
        signatures.append((name, blob[:4], blob[4:]))
    return origin, int(size), root, signed.encode(), signatures


def check_checkpoint(note, charter, records):
    """The root of a checkpoint that is signed by the log's key and of this size."""
    try:
        origin, size, root, signed, signatures = parse_checkpoint(note)
    except Invalid as invalid:
        raise Flaw("checkpoint_malformed", str(invalid)) from None
    key = charter["checkpoint_key"].raw
    demand(origin == charter["origin"], "checkpoint_origin")
    key_hash = sha256(origin.encode(), b"\n\x01", key)[:4]
    own = [each[2] for each in signatures if each[:2] == (origin, key_hash)]
    demand(own, "checkpoint_unsigned")
    demand(all(len(each) == 64 and is_signature(key, signed, each) for each in own), "checkpoint_signature")
    demand(size == records, "checkpoint_size")
    return root


# --- the books ---


@dataclass
class Balance:
    amount: int = 0
    held: int = 0


Line = namedtuple("Line", "fund action account minor hold", defaults=(None,))


class Books:
    """Balances by fund and account, each on its account's normal side, and the holds that are open."""

    def __init__(self):
        self.balances = {}
        self.holds = {}

    def balance(self, fund, name):
        return self.balances.get((fund, name), Balance())

    def amount(self, fund, name):
        return self.balance(fund, name).amount

    def free(self, fund, name):
        balance = self.balance(fund, name)
        return balance.amount - balance.held

    def post(self, lines, currencies, is_trial=False):
        """Posts an entry's lines, all or none."""
        changed, holds, planes = {}, dict(self.holds), {}
        for fund, action, name, minor, hold in lines:
            old = self.balance(fund, name)
            new = changed.setdefault((fund, name), Balance(old.amount, old.held))
            if action in ("debit", "credit"):
                new.amount += minor if action == side(name) else -minor
                key = (fund, plane(name))
                planes[key] = planes.get(key, 0) + (minor if action == "debit" else -minor)
            elif action == "hold":
                demand(hold not in holds, "books_refuse", "a hold twice")
                new.held += minor
                holds[hold] = (fund, name, minor)
            else:
                demand(holds.pop(hold, None) == (fund, name, minor), "books_refuse", "no such hold")
                new.held -= minor
        demand(not any(planes.values()), "books_refuse", "an entry does not balance")
        for (fund, name), new in changed.items():
            demand(not is_limited(name) or new.amount >= new.held, "insufficient_funds", f"{name} of {fund}")
        for (fund, name), new in changed.items():
            demand(abs(new.amount) <= most_minor(currencies[fund]), "amount_too_large", f"{name} of {fund}")
        if not is_trial:
            self.balances |= changed
            self.holds = holds

    def prove(self, fund, kind):
        """P1 to P4, or the custody proof."""
        total = {}
        for (of, name), balance in self.balances.items():
            if of == fund:
                total[name[:4]] = total.get(name[:4], 0) + balance.amount

        def sums(*codes):
            return sum(amount for code, amount in total.items() if code.startswith(codes))

        if kind == "fiduciary":
            demand(sums("1150") == sums("2300", "2100"), "proof_differs", f"custody of {fund}")
            return
        unspent, short = sums("7200", "7210", "7300"), sums("7900")
        proofs = {
            "P1": sums("7100") + short == unspent + sums("7400", "7500"),
            "P2": sums("7400") == sums("2100", "2200"),
            "P3": sums("1100", "1300") - sums("2600") == unspent + sums("7400") - short,
            "P4": sums("3100", "41") - sums("51") == unspent + sums("1200") - short,
        }
        for name, holds in proofs.items():
            demand(holds, "proof_differs", f"{name} of {fund}")


def dr(fund, name, minor):
    return Line(fund, "debit", name, minor)


def cr(fund, name, minor):
    return Line(fund, "credit", name, minor)


def move(fund, source, target, minor):
    return [dr(fund, source, minor), cr(fund, target, minor)]


# --- the state that the rules read ---


@dataclass
class Key:
    principal: str
    start: int
    until: int | None = None
    is_vetoed: bool = False


@dataclass
class ProposalState:
    act: tuple
    counted: dict
    not_after: int
    effective: int | None = None
    is_vetoed: bool = False


@dataclass
class Case:
    offer: tuple
    outcome: str | None = None


@dataclass
class Fact:
    entry: str
    lines: list
    is_reversed: bool = False


@dataclass
class Step:
    entry: str
    lines: list
    before: str


Approval = namedtuple("Approval", "signer key policy digest")


@dataclass
class Disbursement:
    body: dict
    request: str
    preparer: str
    commitment: str
    is_cash: bool
    stage: str = "requested"
    hold: str = ""
    holds: int = 1
    approvals: list = field(default_factory=list)
    payable: str = ""
    due: int = 0
    bank: str = ""
    payer: str = ""
    came_back: bool = False
    last: Step | None = None

    def can_lapse(self):
        return self.stage in ("requested", "obligated") or self.stage == "due" and not self.came_back


@dataclass
class Report:
    record: Record
    persons: dict


@dataclass
class Outcome:
    """What a record does: the lines of the entry that it causes, if it causes one, and what changes with it."""

    apply: object
    lines: list | None = None
    of: Disbursement | None = None
    approvals: list = field(default_factory=list)
    report: str | None = None
    effective: str | None = None
    reverses: str | None = None
    names_request: bool = True


class State:
    def __init__(self, founding):
        charter = founding.payload["body"]
        self.ledger = founding.digest
        self.charter = charter
        self.now = founding.payload["issued_at"]
        self.groups = {}
        self.policies = [(self.now, charter["policy"])]
        self.keys = {}
        self.roles = {}
        for each in charter["custodians"]:
            self.keys[each["key"].id] = Key(each["principal"], self.now)
            self.roles[each["principal"]] = [(self.now, {"custodian"})]
        self.custodians = set(self.roles)
        self.accepted = {founding.payload["signer"]}
        self.ids = {}
        self.proposals = {}
        self.assets, self.funds, self.banks = set(), {}, {}
        self.offers, self.cases, self.agency_refs = {}, {}, set()
        self.disbursements, self.obligations = {}, set()
        self.reports, self.facts = {}, {}
        self.books = Books()

    def version(self):
        return sum(start <= self.now for start, _ in self.policies)

    def policy(self):
        return self.policies[self.version() - 1][1]

    def roles_of(self, principal):
        held = [roles for start, roles in self.roles.get(principal, []) if start <= self.now]
        return held[-1] if held else set()

    def is_valid(self, key):
        key = self.keys[key]
        return not key.is_vetoed and key.start <= self.now and (key.until is None or self.now < key.until)

    def currencies(self):
        return {fund: opening["currency"] for fund, opening in self.funds.items()}


# --- the rules: guards in the order of docs/errors.md ---

DAYS_30 = 30 * 24 * 3600


def check_frame(s, r):
    p = r.payload
    key = s.keys.get(r.keyid)
    demand(p["ledger"] == s.ledger, "wrong_ledger")
    demand(key, "key_unknown")
    demand(key.principal == p["signer"], "key_not_signers")
    until, same = s.ids.get((p["signer"], p["id"]), (s.now - 1, None))
    demand(until < s.now, "repeated" if same == r.digest else "instruction_id_reused")
    demand(key.is_vetoed or s.now >= key.start, "key_not_yet_valid")
    demand(s.is_valid(r.keyid), "key_revoked")
    demand(p["issued_at"] <= p["not_after"] <= p["issued_at"] + DAYS_30, "not_after_invalid")
    demand(s.now <= p["not_after"], "expired")
    demand(p["issued_at"] <= s.now + s.policy()["skew_s"], "issued_in_future")
    root, begun = s.groups.get(p["basis"]["size"], (None, None))
    demand(root == p["basis"]["root"], "basis_unknown")
    demand(r.kind != "acceptance" or p["basis"]["size"] == 1, "basis_unknown")
    demand(s.now - begun <= s.policy()["basis_age_s"], "basis_too_old")
    demand(r.kind == "acceptance" or s.accepted == s.custodians, "founding_incomplete")
    demand(ROLES[r.kind] & s.roles_of(p["signer"]), "role_missing")


def check_founding(record):
    charter = record.payload["body"]
    principals = [each["principal"] for each in charter["custodians"]]
    keys = [each["key"].id for each in charter["custodians"]]
    keys += [charter["record_key"].id, charter["checkpoint_key"].id]
    quorum = charter["quorum"]
    demand(principals == sorted(set(principals)), "founding_invalid", "custodians are not sorted")
    demand(charter["currencies"] == sorted(set(charter["currencies"])), "founding_invalid", "currencies")
    demand(len(keys) == len(set(keys)), "founding_invalid", "a key twice")
    demand(2 <= quorum <= len(principals) < 2 * quorum, "founding_invalid", "quorum")
    demand(charter["witness_threshold"] <= len(charter["witnesses"]), "founding_invalid", "witnesses")
    check_policy(charter["policy"], charter, "founding_invalid")


def check_policy(rules, charter, code):
    bands = [(each["up_to"].currency, each["up_to"].minor) for each in rules["bands"]]
    demand(bands == sorted(set(bands)), code, "bands are not sorted")
    for each in rules["bands"]:
        demand(each["up_to"].currency in charter["currencies"], code, "a band's currency")
        demand(each["approvers"] >= 1 and each["directors"] <= each["approvers"], code, "a band's persons")
    demand(rules["bank_report_persons"] >= 1 and rules["receipt_persons"] >= 1, code, "persons")


def on_acceptance(s, r, b):
    signer = r.payload["signer"]
    demand(signer not in s.accepted, "already_accepted")
    return Outcome(partial(s.accepted.add, signer))


def check_act(s, name, contents):
    """What has to hold when an act is proposed, and again when it is decided."""
    if name == "policy":
        check_policy(contents["policy"], s.charter, "act_invalid")
        demand(s.policies[-1][0] <= s.now, "act_pending")
        return
    if name == "revoke":
        key = s.keys.get(contents["key"])
        demand(key and not key.is_vetoed and key.until is None, "act_invalid", "no key to revoke")
        return
    principal, roles = contents["principal"], contents["roles"]
    demand(roles == sorted(set(roles)), "act_invalid", "roles are not sorted")
    demand("agency" not in roles or roles == ["agency"], "act_invalid", "an agency holds no other role")
    if name == "enrol":
        demand(contents["possessions"], "act_invalid", "no key")
        ids = []
        for envelope in contents["possessions"]:
            try:
                says, signed = parse_possession(envelope)
            except Flaw as flaw:
                raise Flaw("possession_invalid", flaw.code) from None
            is_ours = (says["ledger"], says["principal"]) == (s.ledger, principal)
            demand(signed and is_ours, "possession_invalid")
            ids.append(says["key"].id)
        demand(len(ids) == len(set(ids)) and not any(each in s.keys for each in ids), "key_enrolled")
    else:
        demand(principal in s.roles, "act_invalid", "no such principal")
    demand(("custodian" in roles) == (principal in s.custodians), "custodians_fixed")
    demand(s.roles.get(principal, [(0, set())])[-1][0] <= s.now, "act_pending")


def decide_act(s, proposal):
    name, contents = proposal.act
    proposal.effective = start = s.now + s.policy()["quorum_delay_s"]
    if name == "policy":
        s.policies.append((start, contents["policy"]))
    elif name == "revoke":
        s.keys[contents["key"]].until = start
    else:
        s.roles.setdefault(contents["principal"], []).append((start, set(contents["roles"])))
        for envelope in contents.get("possessions", []):
            s.keys[parse_possession(envelope)[0]["key"].id] = Key(contents["principal"], start)


def undo_act(s, proposal):
    name, contents = proposal.act
    proposal.is_vetoed = True
    if proposal.effective is None:
        return
    if name == "policy":
        s.policies.pop()
    elif name == "revoke":
        s.keys[contents["key"]].until = None
    else:
        s.roles[contents["principal"]].pop()
        for envelope in contents.get("possessions", []):
            s.keys[parse_possession(envelope)[0]["key"].id].is_vetoed = True


def on_proposal(s, r, b):
    check_act(s, *b["act"])
    counted = {r.payload["signer"]: r.keyid}
    proposal = ProposalState(b["act"], counted, r.payload["not_after"])
    return Outcome(partial(s.proposals.__setitem__, r.digest, proposal))


def on_concurrence(s, r, b):
    proposal = s.proposals.get(b["proposal"])
    demand(proposal, "proposal_unknown")
    is_open = proposal.effective is None and not proposal.is_vetoed and s.now <= proposal.not_after
    demand(is_open, "proposal_closed")
    counted = still(s, proposal.counted, {"custodian"})
    demand(r.payload["signer"] not in counted, "already_concurred")
    counted[r.payload["signer"]] = r.keyid
    is_decided = len(counted) >= s.charter["quorum"]
    if is_decided:
        check_act(s, *proposal.act)

    def apply():
        proposal.counted = counted
        if is_decided:
            decide_act(s, proposal)

    return Outcome(apply)


def still(s, persons, roles):
    """Those of the persons who hold one of the roles and whose key is valid."""
    return {who: key for who, key in persons.items() if roles & s.roles_of(who) and s.is_valid(key)}


def on_veto(s, r, b):
    proposal = s.proposals.get(b["proposal"])
    demand(proposal, "proposal_unknown")
    end = proposal.not_after + 1 if proposal.effective is None else proposal.effective
    demand(not proposal.is_vetoed and s.now < end, "proposal_closed")
    return Outcome(partial(undo_act, s, proposal))


def on_asset(s, r, b):
    demand(b["asset"] not in s.assets, "asset_exists")
    return Outcome(partial(s.assets.add, b["asset"]))


def on_fund(s, r, b):
    demand(b["asset"] in s.assets, "asset_unknown")
    fiduciary = [(each["asset"], "fiduciary") for each in s.funds.values() if each["kind"] == "fiduciary"]
    demand(b["fund"] not in s.funds and (b["asset"], b["kind"]) not in fiduciary, "fund_exists")
    demand(b["currency"] in s.charter["currencies"], "currency_mismatch")
    return Outcome(partial(s.funds.__setitem__, b["fund"], b))


def on_bank(s, r, b):
    demand(b["bank"] not in s.banks, "bank_exists")
    demand(b["currency"] in s.charter["currencies"], "currency_mismatch")
    return Outcome(partial(s.banks.__setitem__, b["bank"], b["currency"]))


def on_offer(s, r, b):
    benefits = {each["benefit"]: each["kind"] for each in b["benefits"]}
    amounts = [contents[name] for _, contents in benefits.values() for name in contents]
    demand(all(each.currency in s.charter["currencies"] for each in amounts), "currency_mismatch")
    demand(all(each.minor > 0 for each in amounts), "amount_not_positive")
    names = [each["benefit"] for each in b["benefits"]]
    demand(names and names == sorted(set(names)), "offer_invalid", "benefits are not sorted")
    demand(b["version"] == 1 + sum(offer == b["offer"] for offer, _ in s.offers), "offer_invalid", "version")
    return Outcome(partial(s.offers.__setitem__, (b["offer"], b["version"]), b | {"benefits": benefits}))


def version_of(offer):
    return offer["offer"], offer["version"]


def on_case(s, r, b):
    offer = s.offers.get(version_of(b["offer"]))
    demand(offer, "offer_unknown")
    reference = (b["agency"], b["agency_ref"])
    demand(b["case"] not in s.cases and reference not in s.agency_refs, "case_exists")
    demand("agency" in s.roles_of(b["agency"]), "agency_unknown")
    demand(b["entered"] >= offer["valid_from"], "case_not_eligible")

    def apply():
        s.cases[b["case"]] = Case(version_of(b["offer"]))
        s.agency_refs.add(reference)

    return Outcome(apply)


def on_screening(s, r, b):
    case = s.cases.get(b["case"])
    demand(case, "case_unknown")
    demand(case.outcome is None, "screening_closed")
    return Outcome(partial(setattr, case, "outcome", b["outcome"]))


# --- facts ---


def fund_of(s, name, kind):
    fund = s.funds.get(name)
    demand(fund, "fund_unknown", name)
    demand(fund["kind"] == kind, "fund_wrong_kind", name)
    return fund


def check_amounts(s, currency, banks, amounts, positive=()):
    for bank in banks:
        demand(bank in s.banks, "bank_unknown", bank)
    are_equal = all(s.banks[bank] == currency for bank in banks) and all(each.currency == currency for each in amounts)
    demand(are_equal, "currency_mismatch")
    demand(all(each.minor > 0 for each in positive), "amount_not_positive")


def check_date(s, value):
    ahead = datetime.date.fromisoformat(value) - datetime.date.fromisoformat(show_day(s.now))
    demand(ahead.days <= 31, "value_date_invalid", value)


def receipt(s, fund, bank, minor):
    back = min(minor, s.books.amount(fund, f"2600/{bank}"))
    return [dr(fund, f"2600/{bank}", back), dr(fund, f"1100/{bank}", minor - back)]


def payment(s, fund, bank, minor):
    free = min(minor, s.books.free(fund, f"1100/{bank}"))
    return [cr(fund, f"1100/{bank}", free), cr(fund, f"2600/{bank}", minor - free)]


def use(s, fund, target, minor):
    free = min(minor, s.books.free(fund, M))
    return [dr(fund, M, free), dr(fund, "7900", minor - free), cr(fund, target, minor)]


def restraint_lines(s, b):
    fund, asset = b["fund"], fund_of(s, b["fund"], "fiduciary")["asset"]
    check_amounts(s, s.funds[fund]["currency"], [], [b["amount"]], [b["amount"]])
    return move(fund, f"8100/{asset}", "8900", b["amount"].minor)


def custody_lines(s, b, frees=True):
    fund, asset = b["fund"], fund_of(s, b["fund"], "fiduciary")["asset"]
    check_amounts(s, s.funds[fund]["currency"], [b["bank"]], [b["amount"]], [b["amount"]])
    check_date(s, b["value_date"])
    minor = b["amount"].minor
    lines = move(fund, f"1150/{b['bank']}", f"2300/{asset}", minor)
    restrained = s.books.amount(fund, f"8100/{asset}")
    return lines + (move(fund, "8900", f"8100/{asset}", min(minor, restrained)) if frees else [])


def forfeiture_lines(s, b):
    fund, into = b["fund"], b["to_fund"]
    source, target = fund_of(s, fund, "fiduciary"), fund_of(s, into, "spendable")
    demand(source["asset"] == target["asset"], "fund_wrong_kind", "of another asset")
    parts = b["costs"] + b["claims"]
    currency, bank = source["currency"], b["bank"]
    demand(target["currency"] == currency, "currency_mismatch")
    amounts = [b["gross"]] + [each["amount"] for each in parts]
    check_amounts(s, currency, [bank, b["to_bank"]], amounts, amounts)
    net = b["gross"].minor - sum(each["amount"].minor for each in parts)
    demand(net >= 0, "amounts_do_not_add_up")
    check_date(s, b["value_date"])
    lines = [dr(fund, f"2300/{source['asset']}", b["gross"].minor)]
    lines += [cr(fund, f"2100/cost/{each['body']}", each["amount"].minor) for each in b["costs"]]
    lines += [cr(fund, f"2100/claimant/{each['body']}", each["amount"].minor) for each in b["claims"]]
    lines += [cr(fund, f"1150/{bank}", net)]
    return lines + receipt(s, into, b["to_bank"], net) + [cr(into, "4101", net)] + move(into, "7100", M, net)


def claim_lines(s, b):
    fund = b["fund"]
    currency = fund_of(s, fund, "fiduciary")["currency"]
    check_amounts(s, currency, [b["bank"]], [b["amount"]], [b["amount"]])
    check_date(s, b["value_date"])
    return move(fund, f"2100/{b['kind']}/{b['body']}", f"1150/{b['bank']}", b["amount"].minor)


def windfall_lines(s, b):
    fund, other, bank = b["fund"], b["shares_fund"], b["bank"]
    own, shares = fund_of(s, fund, "spendable"), fund_of(s, other, "fiduciary")
    demand(own["asset"] == shares["asset"], "fund_wrong_kind", "of another asset")
    demand(own["currency"] == shares["currency"], "currency_mismatch")
    amounts = [each["amount"] for each in b["shares"]]
    check_amounts(s, own["currency"], [bank], [b["own"], b["retained"]] + amounts, [b["own"]] + amounts)
    check_date(s, b["value_date"])
    minor = b["own"].minor
    lines = receipt(s, fund, bank, minor) + [cr(fund, "4102", minor)] + move(fund, "7100", M, minor)
    for each in b["shares"]:
        lines += move(other, f"1150/{bank}", f"2100/other-body/{each['body']}", each["amount"].minor)
    return lines + move(other, f"8200/{shares['asset']}", "8900", b["retained"].minor)


def fee_lines(s, b):
    fund, minor = b["fund"], b["amount"].minor
    currency = fund_of(s, fund, "spendable")["currency"]
    check_amounts(s, currency, [b["bank"]], [b["amount"]], [b["amount"]])
    check_date(s, b["value_date"])
    return [dr(fund, "5102", minor)] + payment(s, fund, b["bank"], minor) + use(s, fund, "7500", minor)


def bank_lines(s, kind, b, persons):
    """What the bank did with a payment: the disbursement, the stage that it comes to, and the lines."""
    if "value_date" in b:
        check_date(s, b["value_date"])
    d = s.disbursements.get(b["disbursement"])
    demand(d, "disbursement_unknown")
    demand(not is_over(s, d), "disbursement_expired")
    demand(d.stage == ("paid" if kind == "bank-return" else "released"), "wrong_stage")
    involved = {each.signer for each in d.approvals} | {d.payer}
    demand(not involved & set(persons), "same_person")
    fund, minor, outstanding, cash = d.body["fund"], d.due, f"2200/bank/{d.bank}", f"1100/{d.bank}"
    if kind == "bank-confirmation":
        lines = move(fund, outstanding, cash, minor) + [Line(fund, "post-hold", cash, minor, d.hold)]
        return d, "paid", lines + move(fund, "7400", "7500", minor)
    if kind == "bank-rejection":
        return d, "due", move(fund, outstanding, d.payable, minor) + [Line(fund, "void-hold", cash, minor, d.hold)]
    kept = b["kept"]
    demand(kept.currency == d.body["amount"].currency, "currency_mismatch")
    demand(kept.minor <= minor, "amounts_do_not_add_up")
    lines = receipt(s, fund, d.bank, minor - kept.minor) + [dr(fund, "5102", kept.minor), cr(fund, d.payable, minor)]
    return d, "due", lines + move(fund, "7500", "7400", minor) + use(s, fund, "7500", kept.minor)


FACTS = {
    "restraint": restraint_lines,
    "custody": custody_lines,
    "custody-interest": partial(custody_lines, frees=False),
    "forfeiture": forfeiture_lines,
    "claim-payment": claim_lines,
    "windfall-income": windfall_lines,
    "bank-fee": fee_lines,
}
OF_BANK = ("bank-confirmation", "bank-rejection", "bank-return")


def report_outcome(s, report, persons, cause):
    """The entry of a report that these persons signed, if `cause` completes it."""
    b, kind = report.payload["body"], report.kind
    entry = cause + "-0"
    countersigned = None if cause == report.digest else report.digest
    effective = b.get("value_date")
    if kind in OF_BANK:
        d, stage, lines = bank_lines(s, kind, b, persons)
        lines = [each for each in lines if each.minor]

        def apply():
            d.last = Step(entry, lines, d.stage)
            d.stage = stage
            d.came_back = d.came_back or stage == "due"

        return Outcome(apply, lines, d, [], countersigned, effective, names_request=False)
    lines = [each for each in FACTS[kind](s, b) if each.minor]
    apply = partial(s.facts.__setitem__, report.digest, Fact(entry, lines))
    return Outcome(apply, lines, None, [], countersigned, effective)


def persons_needed(s, kind):
    return s.policy()["bank_report_persons" if kind in OF_BANK + ("bank-fee",) else "receipt_persons"]


def on_report(s, r, b):
    persons = {r.payload["signer"]: r.keyid}
    outcome = report_outcome(s, r, persons, r.digest)
    if persons_needed(s, r.kind) <= 1:
        return outcome
    s.books.post(outcome.lines, s.currencies(), is_trial=True)
    return Outcome(partial(s.reports.__setitem__, r.digest, Report(r, persons)))


def on_countersignature(s, r, b):
    report = s.reports.get(b["report"])
    demand(report and s.now <= report.record.payload["not_after"], "report_unknown")
    persons = still(s, report.persons, {"reconciler"})
    demand(r.payload["signer"] not in persons, "already_signed")
    persons[r.payload["signer"]] = r.keyid
    if len(persons) < persons_needed(s, report.record.kind):
        return Outcome(partial(setattr, report, "persons", persons))
    outcome = report_outcome(s, report.record, persons, r.digest)
    change = outcome.apply

    def apply():
        change()
        del s.reports[b["report"]]

    outcome.apply = apply
    return outcome


# --- disbursements ---


def is_over(s, d):
    return d.can_lapse() and s.now > d.body["expires"]


def band_of(s, money):
    bands = [
        each
        for each in s.policy()["bands"]
        if each["up_to"].currency == money.currency and each["up_to"].minor >= money.minor
    ]
    demand(bands, "no_band")
    return min(bands, key=lambda each: each["up_to"].minor)


def on_request(s, r, b):
    fund = fund_of(s, b["fund"], "spendable")
    demand(b["amount"].currency == fund["currency"], "currency_mismatch")
    demand(b["amount"].minor > 0, "amount_not_positive")
    offer, case = s.offers.get(version_of(b["offer"])), s.cases.get(b["case"])
    demand(offer, "offer_unknown")
    demand(case, "case_unknown")
    demand(case.offer == version_of(b["offer"]), "offer_unknown")
    demand(b["disbursement"] not in s.disbursements, "disbursement_exists")
    demand(case.outcome is not None, "screening_open")
    demand(case.outcome == "cleared", "screening_refused")
    kind, contents = offer["benefits"].get(b["benefit"], (None, None))
    demand(kind and b["occurrence"] == 1, "benefit_unknown")
    if kind == "cash":
        demand(b["amount"] == contents["amount"], "amount_not_offered")
    else:
        demand(b["amount"].currency == contents["ceiling"].currency, "currency_mismatch")
        demand(b["amount"].minor <= contents["ceiling"].minor, "amount_not_offered")
    demand(b["channel"][0] in s.policy()["channels"], "channel_not_allowed")
    band_of(s, b["amount"])
    demand(s.now < b["expires"] <= s.now + s.policy()["expiry_max_s"], "expiry_invalid")
    obligation = (b["case"], b["benefit"], b["occurrence"])
    demand(obligation not in s.obligations, "obligation_exists")
    demand(not s.books.amount(b["fund"], "7900"), "fund_blocked")
    commitment = hmac.digest(bytes.fromhex(b["salt"]), b["case"].encode(), "sha256").hex()
    d = Disbursement(b, r.digest, r.payload["signer"], commitment, kind == "cash", hold=b["disbursement"] + ".1")

    def apply():
        s.disbursements[b["disbursement"]] = d
        s.obligations.add(obligation)

    return Outcome(apply, [Line(b["fund"], "hold", M, b["amount"].minor, d.hold)], d)


def find(s, b, stages, needs_request=True):
    """The disbursement that an instruction names, at one of these stages."""
    d = s.disbursements.get(b["disbursement"])
    demand(d, "disbursement_unknown")
    demand(not is_over(s, d), "disbursement_expired")
    demand(not needs_request or b["request"] == d.request, "request_differs")
    demand(d.stage in stages, "wrong_stage")
    return d


def counting(s, d, version=None):
    """The approvals that count now."""
    return [
        each
        for each in d.approvals
        if (version is None or each.policy == version)
        and s.is_valid(each.key)
        and {"approver", "director"} & s.roles_of(each.signer)
    ]


def are_enough(s, approvals, needs):
    directors = sum("director" in s.roles_of(each.signer) for each in approvals)
    return len(approvals) >= needs["approvers"] and directors >= needs["directors"]


def on_approval(s, r, b):
    e, signer = b["effect"], r.payload["signer"]
    d = find(s, e, ("requested",))
    same = ("amount", "benefit", "channel", "disbursement", "expires", "fund", "offer")
    is_equal = all(e[name] == d.body[name] for name in same) and e["most"] == d.body["amount"]
    demand(is_equal and e["preparer"] == d.preparer, "effect_differs")
    demand(e["policy"] == s.version(), "policy_changed")
    demand(signer != d.preparer, "own_request")
    approvals = counting(s, d, s.version())
    demand(all(each.signer != signer for each in approvals), "already_approved")
    needs = band_of(s, d.body["amount"])
    earlier = list(approvals)
    approvals.append(Approval(signer, r.keyid, s.version(), r.digest))
    if not are_enough(s, approvals, needs):
        return Outcome(partial(setattr, d, "approvals", approvals))
    fund, name, minor = d.body["fund"], d.body["disbursement"], d.body["amount"].minor
    post = [Line(fund, "post-hold", M, minor, d.hold)]
    payable = f"2100/disbursement/{name}"

    def apply():
        d.approvals = approvals
        d.last = None
        d.stage = "due" if d.is_cash else "obligated"
        if d.is_cash:
            d.payable, d.due = payable, minor

    if not d.is_cash:
        return Outcome(apply, post + move(fund, M, "7300", minor), d, earlier)
    return Outcome(apply, move(fund, "5101", payable, minor) + post + move(fund, M, "7400", minor), d, earlier)


def ending_lines(d):
    fund, minor = d.body["fund"], d.body["amount"].minor
    if d.stage == "requested":
        return [Line(fund, "void-hold", M, minor, d.hold)]
    if d.stage == "obligated":
        return move(fund, "7300", M, minor)
    return move(fund, d.payable, "5101", d.due) + move(fund, "7400", M, d.due)


def ending(s, d, stage):
    def apply():
        d.stage, d.last = stage, None
        s.obligations.discard((d.body["case"], d.body["benefit"], d.body["occurrence"]))

    return Outcome(apply, ending_lines(d), d)


def on_rejection(s, r, b):
    return ending(s, find(s, b, ("requested",)), "rejected")


def on_cancellation(s, r, b):
    return ending(s, find(s, b, ("requested", "obligated", "due")), "cancelled")


def on_lapse(s, r):
    p = r.payload
    d = s.disbursements.get(p["disbursement"])
    demand(p["ledger"] == s.ledger and d and is_over(s, d), "lapse_not_due")
    demand(p["request"] == d.request and p["expired"] == d.body["expires"], "lapse_not_due")
    return ending(s, d, "lapsed")


def on_delivery(s, r, b):
    demand(b["invoiced"].minor > 0, "amount_not_positive")
    check_date(s, b["delivered"])
    d = find(s, b, ("obligated",), needs_request=False)
    demand(b["invoiced"].currency == d.body["amount"].currency, "currency_mismatch")
    fund, invoiced = d.body["fund"], b["invoiced"].minor
    demand(invoiced <= d.body["amount"].minor, "invoice_too_high")
    payable = f"2100/vendor/{b['vendor']}"
    lines = move(fund, "5101", payable, invoiced) + move(fund, "7300", "7400", invoiced)
    lines += move(fund, "7300", M, d.body["amount"].minor - invoiced)
    lines = [each for each in lines if each.minor]

    def apply():
        d.last = Step(r.digest + "-0", lines, d.stage)
        d.stage, d.payable, d.due = "due", payable, invoiced

    return Outcome(apply, lines, d, effective=b["delivered"])


def on_release(s, r, b):
    bank, signer = b["bank"], r.payload["signer"]
    demand(bank in s.banks, "bank_unknown")
    d = find(s, b, ("due",))
    fund = d.body["fund"]
    demand(s.banks[bank] == d.body["amount"].currency, "currency_mismatch")
    needs = band_of(s, d.body["amount"])
    demand(signer not in {d.preparer} | {each.signer for each in d.approvals}, "same_person")
    approvals = counting(s, d)
    demand(are_enough(s, approvals, needs), "approvals_void")
    demand(not s.books.amount(fund, f"2600/{bank}"), "bank_overdrawn")
    hold = f"{b['disbursement']}.{d.holds + 1}"
    lines = move(fund, d.payable, f"2200/bank/{bank}", d.due) + [Line(fund, "hold", f"1100/{bank}", d.due, hold)]

    def apply():
        d.last = Step(r.digest + "-0", lines, d.stage)
        d.stage, d.bank, d.payer, d.hold, d.holds = "released", bank, signer, hold, d.holds + 1

    return Outcome(apply, lines, d, approvals)


def reversed_lines(lines):
    swapped = {"debit": "credit", "credit": "debit", "hold": "void-hold"}
    return [
        each._replace(action=swapped[each.action])
        if each.action in swapped
        else each._replace(action="hold", hold=each.hold + ".r")
        for each in lines
    ]


def on_reversal(s, r, b):
    name, subject = b["subject"]
    if name == "fact":
        fact = s.facts.get(subject)
        demand(fact and fact.entry == b["entry"] and not fact.is_reversed, "nothing_to_reverse")
        apply = partial(setattr, fact, "is_reversed", True)
        return Outcome(apply, reversed_lines(fact.lines), reverses=b["entry"])
    d = s.disbursements.get(subject)
    demand(d, "disbursement_unknown")
    demand(not is_over(s, d), "disbursement_expired")
    demand(d.last and d.last.entry == b["entry"], "nothing_to_reverse")
    lines = reversed_lines(d.last.lines)

    def apply():
        d.came_back = d.came_back or d.stage == "released"
        d.stage, d.last = d.last.before, None
        for each in lines:
            if each.action == "hold":
                d.hold = each.hold

    return Outcome(apply, lines, d, reverses=b["entry"], names_request=False)


HANDLERS = {
    "acceptance": ("custodian", on_acceptance),
    "proposal": ("custodian", on_proposal),
    "concurrence": ("custodian", on_concurrence),
    "veto": ("custodian auditor", on_veto),
    "asset-registration": ("director", on_asset),
    "fund-opening": ("director", on_fund),
    "bank-opening": ("director", on_bank),
    "offer": ("director", on_offer),
    "case-opening": ("preparer", on_case),
    "screening": ("screener", on_screening),
    "request": ("preparer", on_request),
    "approval": ("approver director", on_approval),
    "rejection": ("approver director", on_rejection),
    "cancellation": ("preparer director", on_cancellation),
    "delivery": ("preparer", on_delivery),
    "release": ("payer", on_release),
    "reversal": ("director", on_reversal),
    "countersignature": ("reconciler", on_countersignature),
} | {kind: ("reconciler", on_report) for kind in (*FACTS, *OF_BANK)}
ROLES = {kind: set(roles.split()) for kind, (roles, _) in HANDLERS.items()}


def entry_payload(s, cause, outcome):
    """The bytes of the entry that a record causes."""
    d = outcome.of
    authority = [d.request] if d and outcome.names_request and cause != d.request else []
    authority += [each.digest for each in outcome.approvals]
    authority += [outcome.report] if outcome.report else []
    entry = {
        "authority": authority + [cause],
        "effective": outcome.effective or show_day(s.now),
        "id": cause + "-0",
        "ledger": s.ledger,
        "lines": [line_json(s, each) for each in outcome.lines if each.minor],
    }
    if d:
        names = {"benefit": d.body["benefit"], "case_commitment": d.commitment}
        entry |= names | {"disbursement": d.body["disbursement"]}
    if outcome.reverses:
        entry["reverses"] = outcome.reverses
    return canonical(entry)


def line_json(s, posted):
    currency = s.funds[posted.fund]["currency"]
    written = {"account": posted.account, "action": posted.action, "amount": show(posted.minor, currency)}
    written |= {"currency": currency, "fund": posted.fund}
    return written | ({"hold": posted.hold} if posted.hold else {})


# --- replay ---


class Replay:
    """The log so far. Each record is taken at the next position, or refuted there."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.tree = Tree()
        self.state = None
        self.carried = {}
        self.expected = None

    def take(self, leaf):
        record = parse_record(leaf)
        if self.tree.size == 0:
            self.found(record)
        else:
            self.follow(record)
        self.tree.append(record.leaf)

    def found(self, record):
        demand(record.digest == self.ledger, "other_ledger")
        demand(record.kind == "founding", "founding_invalid")
        charter, signer = record.payload["body"], record.payload["signer"]
        for key in [each["key"] for each in charter["custodians"]] + [charter["record_key"], charter["checkpoint_key"]]:
            self.carried[key.id] = key.raw
        self.check_signature(record)
        named = [each["key"].id for each in charter["custodians"] if each["principal"] == signer]
        demand(named == [record.keyid], "founding_invalid", "not signed by a custodian")
        check_founding(record)
        self.state = State(record)

    def check_signature(self, record):
        key = self.carried.get(record.keyid)
        demand(key, "key_unknown")
        demand(is_signature(key, record.encoding, record.signature), "bad_signature")

    def follow(self, record):
        s = self.state
        self.check_signature(record)
        if self.expected is not None:
            demand(record.kind == "entry", "entry_missing")
            self.check_ledgers_key(record)
            demand(record.json == self.expected, "entry_altered")
            self.expected = None
            return
        demand(record.kind != "founding", "ledger_founded")
        demand(s.groups or record.kind == "group", "outside_group")
        demand(record.kind != "entry", "entry_unexpected")
        if record.kind in LEDGERS:
            self.check_ledgers_key(record)
        if record.kind == "group":
            self.begin_group(record.payload)
        elif record.kind == "lapse":
            self.perform(record, on_lapse(s, record))
        else:
            self.instruct(record)

    def check_ledgers_key(self, record):
        demand(record.keyid == self.state.charter["record_key"].id, "not_the_ledgers_key")

    def begin_group(self, group):
        s = self.state
        self.end_group()
        demand(group["first"] == self.tree.size, "group_position")
        demand(group["ledger"] == self.ledger, "group_ledger")
        demand(group["root"] == self.tree.root().hex(), "group_root")
        demand(group["recorded_at"] >= s.now, "group_time")
        demand(group["rules"] == 1, "group_rules")
        s.now = group["recorded_at"]
        s.groups[group["first"]] = (group["root"], s.now)

    def end_group(self):
        """Checks that every lapse that is due was written."""
        s = self.state
        latest = s.now - s.policy()["lapse_grace_s"]
        for d in s.disbursements.values():
            demand(not d.can_lapse() or d.body["expires"] >= latest, "lapse_missing", d.body["disbursement"])

    def instruct(self, record):
        s, p = self.state, record.payload
        check_frame(s, record)
        _, handler = HANDLERS[record.kind]
        self.perform(record, handler(s, record, p["body"]))
        s.ids[p["signer"], p["id"]] = (p["not_after"], record.digest)
        if record.kind == "proposal" and p["body"]["act"][0] == "enrol":
            for envelope in p["body"]["act"][1]["possessions"]:
                key = parse_possession(envelope)[0]["key"]
                self.carried[key.id] = key.raw

    def perform(self, record, outcome):
        s = self.state
        if outcome.lines is not None:
            self.expected = entry_payload(s, record.digest, outcome)
            s.books.post([each for each in outcome.lines if each.minor], s.currencies())
            for fund in {each.fund for each in outcome.lines}:
                s.books.prove(fund, s.funds[fund]["kind"])
        outcome.apply()

    def finish(self):
        demand(self.expected is None, "cut_off")
        self.end_group()
        for name, fund in self.state.funds.items():
            self.state.books.prove(name, fund["kind"])


# --- the bundle ---


def any_text(value):
    expect(isinstance(value, str), "not a text")
    return value


HEADER = obj(
    {
        "balances": integer, "balances_at": integer, "checkpoint": any_text, "format": one_of("safeconduct-bundle.v1"),
        "ledger": digest, "records": integer,
    }
)  # fmt: skip


def claim(value):
    names = {"account": account, "amount": raw, "currency": currency_code, "fund": ident, "held": raw}
    members = obj(names)(value)
    minor = amount(value["amount"], value["currency"], signed=True).minor
    held = amount(value["held"], value["currency"]).minor
    return (members["fund"], members["account"], members["currency"]), Balance(minor, held)


def parse_line(data, form, code):
    try:
        value = parse_json(data)
        meant = form(value)
    except Invalid as invalid:
        raise Flaw(code, str(invalid)) from None
    demand(canonical(value) == data, code, "not canonical")
    return meant


def read_line(stream, limit, missing):
    data = stream.readline(limit + 1)
    demand(data, missing)
    if not data.endswith(b"\n"):
        raise Flaw("line_too_long" if len(data) > limit else "line_unterminated")
    return data[:-1]


def compare(claimed, state):
    """The balances that the bundle claims, and those of the entries."""
    actual = {
        (fund, name, state.funds[fund]["currency"]): balance
        for (fund, name), balance in state.books.balances.items()
    }
    for number, (key, balance) in enumerate(claimed.items()):
        if balance != actual.get(key, Balance()):
            raise Misread(Flaw("balance_differs", str(key)), number + 2)
    for key, balance in sorted(actual.items()):
        demand(key in claimed or balance == Balance(), "balance_missing", str(key))


class Misread(Exception):
    """A flaw that stands at a line, not at a position."""

    def __init__(self, flaw, number=None):
        super().__init__(flaw, number)
        self.flaw, self.number = flaw, number


def audit(stream, ledger):
    """The verdict on a bundle."""
    where = {}
    try:
        run(stream, ledger, where)
        return {"outcome": "verified"}
    except Misread as misread:
        flaw, where = misread.flaw, {"line": misread.number} if misread.number else {}
    except Flaw as caught:
        flaw = caught
    verdict = {"code": flaw.code, "outcome": "refuted", "reason": flaw.reason}
    return verdict | {name: str(value) for name, value in where.items()}


def run(stream, ledger, where):
    where["line"] = 1
    header = parse_line(read_line(stream, 132072, "header_missing"), HEADER, "header_malformed")
    demand(header["ledger"] == ledger, "other_ledger")
    demand(header["balances_at"] <= header["records"], "balances_at_beyond")
    claimed, last = {}, None
    for _ in range(header["balances"]):
        where["line"] += 1
        key, balance = parse_line(read_line(stream, 66000, "balances_missing"), claim, "balance_malformed")
        demand(last is None or last < key, "balance_order")
        claimed[key], last = balance, key
    replay, root = Replay(ledger), None
    for position in range(header["records"]):
        where["line"] += 1
        where["position"] = position
        replay.take(read_line(stream, 66000, "records_missing"))
        if position == 0:
            root = judge_header(check_checkpoint, header["checkpoint"], replay.state.charter, header["records"])
        elif position == header["balances_at"]:
            judge_header(demand, position in replay.state.groups, "balances_at_within_group")
        if position + 1 == header["balances_at"]:
            compare(claimed, replay.state)
    where["position"] = header["records"]
    replay.finish()
    judge_header(demand, replay.tree.root() == root, "checkpoint_root")
    where["line"] = header["balances"] + header["records"] + 2
    demand(not stream.read(1), "trailing_data")


def judge_header(check, *arguments):
    try:
        return check(*arguments)
    except Flaw as flaw:
        raise Misread(flaw, 1) from None


def main():
    parser = argparse.ArgumentParser(description="Verifies bundles offline, from the specification alone.")
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--ledger", required=True, metavar="ID")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not re.fullmatch("[0-9a-f]{64}", arguments.ledger):
        parser.error("a ledger's id is 64 lower-case hexadecimal digits")
    worst = 0
    for path in arguments.bundles:
        try:
            with open(path, "rb") as stream:
                verdict = audit(stream, arguments.ledger)
        except OSError as error:
            print(error, file=sys.stderr)
            worst = 2
            continue
        worst = max(worst, verdict["outcome"] == "refuted")
        print(json.dumps({"verdict": verdict}) if arguments.json else describe(verdict))
    return int(worst)


def describe(verdict):
    if verdict["outcome"] == "verified":
        return "VERIFIED"
    places = [f"{name} {verdict[name]}" for name in ("position", "line") if name in verdict]
    return f"REFUTED at {', '.join(places) or 'the end'}: {verdict['code']} {verdict['reason']}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
