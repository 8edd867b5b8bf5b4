"""A second audit of a bundle, written from docs/spec alone; it shares nothing with the crates.

Usage: audit.py BUNDLE... --ledger ID [--json]. Prints a verdict for each bundle: VERIFIED, or REFUTED with the place, the
code and the reason. Exits with 0 if all are verified, 1 if one is refuted, 2 if one could not be read.
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
from collections import defaultdict, namedtuple
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Flaw(Exception):
    """What is wrong, by its code, and where: at a line of the file, at a position of the log, or both."""

    def __init__(self, code, reason=""):
        super().__init__(code, reason)
        self.code, self.reason, self.place = code, reason, {}


class Invalid(Exception):
    """A value is not of its form."""


class Uncanonical(Invalid):
    """JSON that no record holds, whatever its form."""


def demand(condition, code, reason=""):
    if not condition:
        raise Flaw(code, reason)


def expect(condition, reason):
    if not condition:
        raise Invalid(reason)


@contextmanager
def placed(**place):
    """Says where a flaw is that is found in this context, unless an inner one did."""
    try:
        yield
    except Flaw as flaw:
        flaw.place = flaw.place or place
        raise


# --- JSON: objects, arrays and strings, and nothing else ---

TOKEN = re.compile(
    r'[ \t\n\r]*(?:([{}\[\]:,])|"((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"|(-?[0-9]|null)|)'
)
ESCAPE = re.compile(r"\\(?:u(....)|(.))")
SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/"}
ESCAPED = {char: "\\" + name for name, char in SHORT.items() if name != "/"}


def parse_json(data):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("not UTF-8") from None
    value, at = parse_value(text, 0, 1)
    expect(not text[at:].strip(" \t\n\r"), "something follows")
    return value


def parse_value(text, at, level):
    token = TOKEN.match(text, at)
    if token[2] is not None:
        return unescaped(token[2]), token.end()
    if token[3] or token[1] and level > 8:
        raise Uncanonical("a number, null, or what nests too deep")
    expect(token[1] in ("{", "["), "no JSON")
    value, closing = ({}, "}") if token[1] == "{" else ([], "]")
    token = TOKEN.match(text, token.end())
    while token[1] != closing:
        expect(not value or token[1] == ",", "no comma")
        at = token.end() if value else token.start()
        if closing == "}":
            token = TOKEN.match(text, at)
            expect(token[2] is not None, "no name")
            name, token = unescaped(token[2]), TOKEN.match(text, token.end())
            expect(token[1] == ":" and name not in value, "no colon, or a name twice")
            value[name], at = parse_value(text, token.end(), level + 1)
        else:
            item, at = parse_value(text, at, level + 1)
            value.append(item)
        token = TOKEN.match(text, at)
    return value, token.end()


def unescaped(text):
    if "\\" not in text:
        return text
    text = ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else SHORT[found[2]], text)
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Invalid("half a surrogate pair") from None


def encode_json(value):
    """RFC 8785."""
    if isinstance(value, str):
        return '"' + re.sub(r'["\\\x00-\x1f]', lambda c: ESCAPED.get(c[0]) or f"\\u{ord(c[0]):04x}", value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(encode_json, value)) + "]"
    members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
    return "{" + ",".join(f"{encode_json(name)}:{encode_json(item)}" for name, item in members) + "}"


def canonical(value):
    return encode_json(value).encode("utf-8")


# --- forms: functions from JSON to what it means ---

MAX_INTEGER = 2**63 - 1
EPOCH = datetime.datetime(1970, 1, 1)
HIDDEN = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
MINOR_UNITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
    "CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
    "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV "
    "MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP "
    "STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_UNITS = {code: units for units, codes in MINOR_UNITS.items() for code in codes.split()}
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
Money = namedtuple("Money", "minor currency")
PublicKey = namedtuple("PublicKey", "id raw")


def pattern(regex):
    def form(value):
        expect(isinstance(value, str) and re.fullmatch(regex, value), f"not of the form {regex}")
        return value

    return form


def one_of(values):
    return pattern("|".join(map(re.escape, values)))


def list_of(item):
    def form(value):
        expect(isinstance(value, list), "no array")
        return [item(each) for each in value]

    return form


def choice(**members):
    def form(value):
        expect(isinstance(value, dict) and len(value) == 1, "no choice")
        ((name, contents),) = value.items()
        expect(name.replace("-", "_") in members, "no such choice")
        return name, members[name.replace("-", "_")](contents)

    return form


def struct(text):
    """The form of an object with these members: `name:form`, `name?:form` if it may be left out, `form*` if an array."""
    members = {}
    for name, form in (each.split(":") for each in text.split()):
        form, is_list = FORMS[form.rstrip("*")], form.endswith("*")
        members[name.rstrip("?")] = (list_of(form) if is_list else form, name.endswith("?"))
    meant = namedtuple("Struct", members)

    def form(value):
        expect(isinstance(value, dict), "no object")
        expect(value.keys() <= members.keys(), f"a member too many of {list(value)}")
        expect(all(name in value or optional for name, (_, optional) in members.items()), "a member is missing")
        return meant(*(form(value[name]) if name in value else None for name, (form, _) in members.items()))

    return form


def integer(value):
    number = int(pattern("0|[1-9][0-9]{0,18}")(value))
    expect(number <= MAX_INTEGER, "too large an integer")
    return number


def amount(text, currency, sign=""):
    expect(isinstance(currency, str) and currency in MINOR_UNITS, "no currency")
    units = MINOR_UNITS[currency]
    pattern(sign + "(0|[1-9][0-9]*)" + (rf"\.[0-9]{{{units}}}" if units else ""))(text)
    minor = int(text.replace(".", ""))
    expect(minor != 0 or text[0] != "-", "minus zero")
    expect(abs(minor) <= most_minor(currency), "too large an amount")
    return Money(minor, currency)


def most_minor(currency):
    return min(10 ** (15 + MINOR_UNITS[currency]) - 1, MAX_INTEGER)


def money(value):
    expect(isinstance(value, dict) and sorted(value) == ["amount", "currency"], "no money")
    return amount(value["amount"], value["currency"])


def show(minor, currency):
    units, digits = MINOR_UNITS[currency], str(minor).rjust(MINOR_UNITS[currency] + 1, "0")
    return f"{digits[:-units]}.{digits[-units:]}" if units else digits


def time(value):
    pattern("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")(value)
    try:
        return (datetime.datetime.fromisoformat(value[:-1]) - EPOCH) // datetime.timedelta(seconds=1)
    except ValueError:
        raise Invalid("no such time") from None


def day(value):
    pattern("[0-9]{4}-[0-9]{2}-[0-9]{2}")(value)
    time(value + "T00:00:00Z")
    return value


def day_of(seconds):
    return (EPOCH + datetime.timedelta(seconds=seconds)).date().isoformat()


def text(value):
    """A text. What is NFC depends on the version of Unicode; Python 3.11 has 14."""
    expect(isinstance(value, str) and 1 <= len(value) <= 500, "no text of 1 to 500 characters")
    expect(unicodedata.is_normalized("NFC", value), "not NFC")
    expect(not HIDDEN.search(value) and all(unicodedata.category(c) != "Cc" for c in value), "hidden characters")
    return value


def base64_bytes(value):
    expect(isinstance(value, str), "no base64")
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError:
        raise Invalid("no base64") from None
    expect(base64.b64encode(data).decode() == value, "another base64")
    return data


def public_key(value):
    spki = struct("algorithm:ed25519 spki:base64")(value).spki
    expect(len(spki) == 44 and spki.startswith(SPKI_PREFIX) and is_point(spki[12:]), "no public key")
    return PublicKey(hashlib.sha256(spki).hexdigest(), spki[12:])


def line(value):
    meant = struct("account:account action:action amount:any currency:currency fund:id hold?:hold")(value)
    expect((meant.hold is not None) == meant.action.endswith("hold"), "a hold too many or too few")
    expect(amount(meant.amount, meant.currency).minor > 0, "not above zero")
    return meant


def account(value):
    expect(isinstance(value, str) and side(value), "no account")
    return value


def envelope(value):
    try:
        parse_envelope(value)
    except Flaw as flaw:
        raise Invalid(flaw.code) from None
    return value


FORMS = {
    "account": account,
    "action": one_of(["debit", "credit", "hold", "post-hold", "void-hold"]),
    "any": lambda value: value,
    "base64": base64_bytes,
    "currency": one_of(MINOR_UNITS),
    "day": day,
    "digest": pattern("[0-9a-f]{64}"),
    "ed25519": one_of(["ed25519"]),
    "entry-id": pattern("[0-9a-f]{64}-0"),
    "envelope": envelope,
    "format": one_of(["safeconduct-bundle.v1"]),
    "fund-kind": one_of(["fiduciary", "spendable"]),
    "hold": pattern("[a-z0-9_.-]{1,96}"),
    "id": pattern("[a-z0-9_-]{1,64}"),
    "integer": integer,
    "key": public_key,
    "line": line,
    "manual": one_of(["manual"]),
    "money": money,
    "note": pattern(r"(?s:.*)"),
    "outcome": one_of(["cleared", "refused"]),
    "payee": one_of(["claimant", "cost", "other-body"]),
    "role": one_of("agency approver auditor custodian director payer preparer reconciler screener service".split()),
    "text": text,
    "time": time,
    "token": pattern("[a-z0-9./_-]{1,100}"),
    "uuid": pattern("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
}
FORMS["channel"] = choice(manual=struct(""))
FORMS["benefit-kind"] = choice(cash=struct("amount:money"), in_kind=struct("ceiling:money"))
FORMS["subject"] = choice(disbursement=FORMS["id"], fact=FORMS["digest"])
for name, members in {
    "band": "approvers:integer directors:integer up_to:money",
    "basis": "root:digest size:integer",
    "benefit": "benefit:id kind:benefit-kind",
    "custodian": "key:key principal:id",
    "evidence": "holder:id kind:text sha256:digest",
    "offer": "offer:id version:integer",
    "part": "amount:money body:id",
    "policy": "bands:band* bank_report_persons:integer basis_age_s:integer channels:manual* expiry_max_s:integer gap_s:integer "
    "lapse_grace_s:integer quorum_delay_s:integer receipt_persons:integer skew_s:integer",
    "effect": "amount:money benefit:id channel:channel disbursement:id expires:time fund:id most:money offer:offer "
    "policy:integer preparer:id request:digest",
    "charter": "checkpoint_key:key currencies:currency* custodians:custodian* origin:token policy:policy quorum:integer "
    "record_key:key witness_threshold:integer witnesses:key*",
}.items():
    FORMS[name] = struct(members)
FORMS["act"] = choice(
    enrol=struct("possessions:envelope* principal:id roles:role*"),
    policy=struct("policy:policy"),
    revoke=struct("key:digest reason:text"),
    roles=struct("principal:id roles:role*"),
)
BODIES = {
    "acceptance": "",
    "proposal": "act:act",
    "concurrence": "proposal:digest",
    "veto": "proposal:digest reason:text",
    "asset-registration": "asset:id description:text instrument:evidence",
    "fund-opening": "asset:id currency:currency fund:id kind:fund-kind",
    "bank-opening": "bank:id currency:currency",
    "restraint": "amount:money fund:id instrument:evidence",
    "custody": "amount:money bank:id evidence:evidence fund:id value_date:day",
    "custody-interest": "amount:money bank:id evidence:evidence fund:id value_date:day",
    "forfeiture": "bank:id claims:part* costs:part* fund:id gross:money instrument:evidence to_bank:id to_fund:id value_date:day",
    "claim-payment": "amount:money bank:id body:id evidence:evidence fund:id kind:payee value_date:day",
    "windfall-income": "bank:id evidence:evidence fund:id own:money retained:money shares:part* shares_fund:id value_date:day",
    "bank-fee": "amount:money bank:id evidence:evidence fund:id value_date:day",
    "countersignature": "report:digest",
    "reversal": "entry:entry-id reason:text subject:subject",
    "offer": "benefits:benefit* offer:id valid_from:day version:integer",
    "case-opening": "agency:id agency_ref:id case:id entered:day offer:offer",
    "screening": "case:id evidence:evidence outcome:outcome person:digest",
    "request": "amount:money benefit:id case:id channel:channel disbursement:id expires:time fund:id occurrence:integer "
    "offer:offer salt:digest",
    "approval": "effect:effect",
    "rejection": "disbursement:id reason:text request:digest",
    "cancellation": "disbursement:id reason:text request:digest",
    "delivery": "delivered:day disbursement:id evidence:evidence invoiced:money vendor:id",
    "release": "bank:id disbursement:id request:digest",
    "bank-confirmation": "disbursement:id evidence:evidence value_date:day",
    "bank-rejection": "disbursement:id evidence:evidence",
    "bank-return": "disbursement:id evidence:evidence kept:money value_date:day",
}
PAYLOADS = {
    "founding": "body:charter id:uuid issued_at:time key:digest signer:id",
    "group": "epoch:token first:integer ledger:digest recorded_at:time root:digest rules:integer",
    "entry": "authority:digest* benefit?:id case_commitment?:digest disbursement?:id effective:day id:entry-id ledger:digest "
    "lines:line* reverses?:entry-id",
    "lapse": "disbursement:id expired:time ledger:digest request:digest",
}
for kind, members in BODIES.items():
    FORMS["body"] = struct(members)
    PAYLOADS[kind] = "basis:basis body:body id:uuid issued_at:time key:digest ledger:digest not_after:time signer:id"
    PAYLOADS[kind] = struct(PAYLOADS[kind])
for kind in ("founding", "group", "entry", "lapse"):
    PAYLOADS[kind] = struct(PAYLOADS[kind])
POSSESSION = struct("key:key ledger:digest principal:id")

# --- the chart of accounts ---

SUBACCOUNTS = {
    **dict.fromkeys("1100 1150 2300 2500 2600 7210 8100 8200".split(), "[^/]+"),
    "1200": "(asset-costs|depository|disbursement|vendor)/[^/]+",
    "1300": "(agent|imprest|vendor)/[^/]+",
    "2100": "(claimant|cost|disbursement|other-body|owner|vendor)/[^/]+",
    "2200": "(agent|bank)/[^/]+",
}
BARE = "3100 4101 4102 4103 4104 4105 4106 4107 4108 5101 5102 5103 5104 5105 5106 5107 5108 5109 5110 6100 7100 7200 7300 \
7400 7500 7900 8900".split()
DEBIT = ("11", "12", "13", "5", "6", "71", "79", "81", "82")
UNLIMITED = ("25", "3", "4", "5", "6", "89")
M = "7210/main"


@lru_cache(4096)
def side(name):
    """The normal side of an account; nothing where the chart has none of this name."""
    code, slash, rest = name.partition("/")
    is_sub = slash and code in SUBACCOUNTS and re.fullmatch(SUBACCOUNTS[code], rest)
    if not (is_sub and re.fullmatch("[a-z0-9_-]{1,64}", rest.rpartition("/")[2]) or not slash and code in BARE):
        return None
    return "debit" if code.startswith(DEBIT) else "credit"


# --- signatures ---

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
OF_ORDER_8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
SMALL = (0, 1, P - 1, OF_ORDER_8, P - OF_ORDER_8)


def is_strict(point):
    """The encoding is canonical, and the point not of small order."""
    y = int.from_bytes(point, "little") % 2**255
    return y < P and y not in SMALL


@lru_cache(4096)
def is_point(point):
    y = int.from_bytes(point, "little") % 2**255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return is_strict(point) and pow(square, (P - 1) // 2, P) == 1


@lru_cache(65536)
def is_signature(key, message, signature):
    """Without cofactor: R is compared as bytes, so its encoding is canonical where it is equal."""
    if not is_point(key) or not is_strict(signature[:32]) or int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


# --- records ---

Record = namedtuple("Record", "kind says payload keyid signature message digest leaf")
PREFIX, SUFFIX = "application/vnd.safeconduct.", ".v1+json"


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def parse_envelope(value):
    """Type, payload, key id and signature of an envelope."""
    demand(isinstance(value, dict), "envelope_not_json")
    signatures = value.get("signatures", [])
    demand(isinstance(signatures, list) and all(isinstance(each, dict) for each in signatures), "envelope_not_json")
    objects = [(value, {"payload", "payloadType", "signatures"})] + [(each, {"keyid", "sig"}) for each in signatures]
    demand(all(each.keys() <= names for each, names in objects), "envelope_field_unknown")
    demand(all(each.keys() == names for each, names in objects), "envelope_field_missing")
    demand(len(signatures) == 1, "envelope_signature_count")
    keyid, signature, kind, payload = *signatures[0].values(), value["payloadType"], value["payload"]
    keyid, signature = signatures[0]["keyid"], signatures[0]["sig"]
    demand(all(isinstance(each, str) for each in (keyid, signature, kind, payload)), "envelope_not_json")
    demand(re.fullmatch("[0-9a-f]{64}", keyid), "envelope_keyid")
    try:
        payload, signature = base64_bytes(payload), base64_bytes(signature)
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
        says = form(value)
    except Invalid as invalid:
        code = "payload_not_canonical" if isinstance(invalid, Uncanonical) else "payload_invalid"
        raise Flaw(code, str(invalid)) from None
    demand(canonical(value) == payload, "payload_not_canonical")
    return says


@lru_cache(65536)
def parse_record(leaf):
    demand(len(leaf) <= 65000, "envelope_too_large")
    try:
        value = parse_json(leaf)
    except Invalid as invalid:
        raise Flaw("envelope_not_json", str(invalid)) from None
    payload_type, payload, keyid, signature = parse_envelope(value)
    demand(canonical(value) == leaf, "envelope_not_canonical")
    kind = payload_type.removeprefix(PREFIX).removesuffix(SUFFIX)
    demand(payload_type == PREFIX + kind + SUFFIX and kind in PAYLOADS, "payload_type_unknown", payload_type)
    says = parse_payload(payload, PAYLOADS[kind])
    demand(getattr(says, "key", keyid) == keyid, "payload_key_mismatch")
    message = pre_authentication(payload_type, payload)
    return Record(kind, says, payload, keyid, signature, message, sha256(message).hex(), sha256(b"\0", leaf))


def possessed(act, ledger):
    """The keys of an enrolment, each of whose possessions is signed by its key, for this ledger and principal."""
    keys = []
    for kind, payload, keyid, signature in map(parse_envelope, act.possessions):
        try:
            demand(kind == PREFIX + "key-possession" + SUFFIX, "payload_type_unknown")
            says = parse_payload(payload, POSSESSION)
        except Flaw as flaw:
            raise Flaw("possession_invalid", flaw.code) from None
        is_ours = (keyid, says.ledger, says.principal) == (says.key.id, ledger, act.principal)
        is_signed = is_signature(says.key.raw, pre_authentication(kind, payload), signature)
        demand(is_ours and is_signed, "possession_invalid")
        keys.append(says.key)
    return keys


# --- the tree and its checkpoint ---


class Tree:
    """The roots of the full subtrees from the left, with their sizes."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def append(self, leaf):
        self.size, size, node = self.size + 1, 1, leaf
        while self.peaks and self.peaks[-1][0] == size:
            size, node = 2 * size, sha256(b"\1", self.peaks.pop()[1], node)
        self.peaks.append((size, node))

    def root(self):
        *lefts, (_, node) = self.peaks
        for _, left in reversed(lefts):
            node = sha256(b"\1", left, node)
        return node


def parse_checkpoint(note):
    """Origin, size, root, what is signed, and the signatures as name, key's hash and signature."""
    found = re.fullmatch("((.+)\n(0|[1-9][0-9]*)\n(.+)\n(?:.+\n)*)\n((?:\u2014 [^\\s+]+ \\S+\n)+)", note)
    expect(found and len(note.encode()) <= 65536 and not re.search("[\x00-\x09\x0b-\x1f\x7f]", note), "no checkpoint")
    signed, origin, size, root, lines = found.groups()
    root, signatures = base64_bytes(root), []
    for each in lines.splitlines():
        blob = base64_bytes(each.split(" ")[2])
        expect(len(root) == 32 and len(blob) > 4, "no root, or no signature")
        signatures.append((each.split(" ")[1], blob[:4], blob[4:]))
    return origin, int(size), root, signed.encode(), signatures


def checked_root(note, charter, records):
    """The root of a checkpoint of so many records that the log's key signed."""
    try:
        origin, size, root, signed, signatures = parse_checkpoint(note)
    except Invalid as invalid:
        raise Flaw("checkpoint_malformed", str(invalid)) from None
    demand(origin == charter.origin, "checkpoint_origin", origin)
    key = charter.checkpoint_key.raw
    name = (origin, sha256(origin.encode(), b"\n\x01", key)[:4])
    own = [signature for *named, signature in signatures if tuple(named) == name]
    demand(own, "checkpoint_unsigned")
    demand(all(len(each) == 64 and is_signature(key, signed, each) for each in own), "checkpoint_signature")
    demand(size == records, "checkpoint_size", str(size))
    return root


# --- the books ---

Line = namedtuple("Line", "fund action account minor hold", defaults=(None,))
Balance = namedtuple("Balance", "amount held", defaults=(0, 0))


class Books:
    """Balances by fund and account on its normal side, their sums by fund and account's code, and the open holds."""

    def __init__(self):
        self.balances, self.totals, self.holds = {}, defaultdict(int), {}

    def amount(self, fund, name):
        return self.balances.get((fund, name), Balance()).amount

    def free(self, fund, name):
        return self.amount(fund, name) - self.balances.get((fund, name), Balance()).held

    def post(self, lines, funds):
        planes = defaultdict(int)
        for fund, action, name, minor, hold in lines:
            held, change = 0, 0
            if action in ("debit", "credit"):
                change = minor if action == side(name) else -minor
                planes[fund, name[0] if name[0] in "78" else "proprietary"] += minor if action == "debit" else -minor
            elif action == "hold":
                demand(hold not in self.holds, "books_refuse", "a hold twice")
                self.holds[hold], held = (fund, name, minor), minor
            else:
                demand(self.holds.pop(hold, None) == (fund, name, minor), "books_refuse", "no such hold")
                held = -minor
            old = self.balances.get((fund, name), Balance())
            self.balances[fund, name] = Balance(old.amount + change, old.held + held)
            self.totals[fund, name[:4]] += change
        demand(not any(planes.values()), "books_refuse", "it does not balance")
        for fund, name in {(each.fund, each.account) for each in lines}:
            demand(name.startswith(UNLIMITED) or self.free(fund, name) >= 0, "insufficient_funds", f"{name} of {fund}")
            limit = most_minor(funds[fund].currency)
            demand(abs(self.amount(fund, name)) <= limit, "amount_too_large", f"{name} of {fund}")

    def prove(self, fund, kind):
        def sums(codes):
            return sum(self.totals[fund, code] for code in codes.split())

        if kind == "fiduciary":
            demand(sums("1150") == sums("2300 2100"), "proof_differs", f"custody of {fund}")
            return
        unspent, income, expense = sums("7200 7210 7300") - sums("7900"), sums(INCOME), sums(EXPENSE)
        demand(sums("7100") == unspent + sums("7400 7500"), "proof_differs", f"P1 of {fund}")
        demand(sums("7400") == sums("2100 2200"), "proof_differs", f"P2 of {fund}")
        demand(sums("1100 1300") - sums("2600") == unspent + sums("7400"), "proof_differs", f"P3 of {fund}")
        demand(sums("3100") + income - expense == unspent + sums("1200"), "proof_differs", f"P4 of {fund}")


INCOME = " ".join(code for code in BARE if code[0] == "4")
EXPENSE = " ".join(code for code in BARE if code[0] == "5")


def dr(fund, name, minor):
    return Line(fund, "debit", name, minor)


def cr(fund, name, minor):
    return Line(fund, "credit", name, minor)


def move(fund, source, target, minor):
    return [dr(fund, source, minor), cr(fund, target, minor)]


# --- the state that the rules read ---


class State:
    def __init__(self, founding):
        self.ledger, self.charter, self.now = founding.digest, founding.says.body, founding.says.issued_at
        self.groups, self.books = {}, Books()
        self.policies = [(self.now, self.charter.policy)]
        self.keys, self.roles, self.custodians = {}, {}, set()
        for each in self.charter.custodians:
            self.custodians.add(each.principal)
            self.roles[each.principal] = [(self.now, {"custodian"})]
            self.enrol(each.key, each.principal, self.now)
        self.accepted = {founding.says.signer}
        self.ids, self.proposals, self.reports, self.facts = {}, {}, {}, {}
        self.assets, self.funds, self.banks, self.offers = set(), {}, {}, {}
        self.cases, self.agency_refs, self.disbursements, self.obligations = {}, set(), {}, set()

    def enrol(self, key, principal, start):
        self.keys[key.id] = SimpleNamespace(principal=principal, start=start, until=None, is_vetoed=False)

    def version(self):
        return sum(start <= self.now for start, _ in self.policies)

    def policy(self):
        return self.policies[self.version() - 1][1]

    def holds(self, principal, *roles):
        """The principal holds one of the roles now."""
        held = [each for start, each in self.roles.get(principal, []) if start <= self.now]
        return bool(held and held[-1] & set(roles))

    def is_valid(self, keyid):
        key = self.keys[keyid]
        return not key.is_vetoed and key.start <= self.now and (key.until is None or self.now < key.until)

    def still(self, persons, role):
        """Those of the persons who hold the role and whose key is valid."""
        return {who: key for who, key in persons.items() if self.holds(who, role) and self.is_valid(key)}


# What a record causes: the entry's lines, its disbursement, the digests before the cause's, its day, what it reverses.
Entry = namedtuple("Entry", "lines about authority effective reverses", defaults=(None, [], None, None))

# --- the rules: guards in the order of docs/errors.md, then what changes, then the entry ---

DAYS_30, YEARS_10 = 30 * 24 * 3600, 3660 * 24 * 3600


def check_frame(s, r, roles):
    p, policy = r.says, s.policy()
    demand(p.ledger == s.ledger, "wrong_ledger")
    key = s.keys.get(r.keyid)
    demand(key, "key_unknown")
    demand(key.principal == p.signer, "key_not_signers")
    until, digest = s.ids.get((p.signer, p.id), (s.now - 1, None))
    demand(until < s.now, "repeated" if digest == r.digest else "instruction_id_reused")
    demand(key.is_vetoed or key.start <= s.now, "key_not_yet_valid")
    demand(s.is_valid(r.keyid), "key_revoked")
    demand(p.issued_at <= p.not_after <= p.issued_at + DAYS_30, "not_after_invalid")
    demand(s.now <= p.not_after, "expired")
    demand(p.issued_at <= s.now + policy.skew_s, "issued_in_future")
    root, begun = s.groups.get(p.basis.size, (None, None))
    demand(root == p.basis.root and (r.kind != "acceptance" or p.basis.size == 1), "basis_unknown")
    demand(s.now - begun <= policy.basis_age_s, "basis_too_old")
    demand(r.kind == "acceptance" or s.accepted == s.custodians, "founding_incomplete")
    demand(s.holds(p.signer, *roles.split()), "role_missing")


def is_sorted(values):
    return values == sorted(set(values))


def check_founding(charter):
    principals, keys = [], [charter.record_key, charter.checkpoint_key, *charter.witnesses]
    for each in charter.custodians:
        principals.append(each.principal)
        keys.append(each.key)
    demand(is_sorted(principals) and len(keys) == len(set(keys)), "founding_invalid", "custodians or keys")
    demand(charter.currencies and is_sorted(charter.currencies), "founding_invalid", "currencies")
    demand(2 <= charter.quorum <= len(principals) < 2 * charter.quorum, "founding_invalid", "quorum")
    demand(charter.witness_threshold <= len(charter.witnesses), "founding_invalid", "witnesses")
    check_policy(charter.policy, charter, "founding_invalid")


def check_policy(policy, charter, code):
    demand(is_sorted([(each.up_to.currency, each.up_to.minor) for each in policy.bands]), code, "bands are not sorted")
    for each in policy.bands:
        demand(each.up_to.currency in charter.currencies and each.up_to.minor > 0, code, "a band's amount")
        demand(each.approvers >= 1 and each.directors <= each.approvers, code, "a band's persons")
    demand(policy.bank_report_persons >= 1 and policy.receipt_persons >= 1, code, "persons")
    demand(policy.basis_age_s > 0 and policy.expiry_max_s > 0 and policy.gap_s > 0, code, "no time")
    spans = [value for name, value in policy._asdict().items() if name.endswith("_s")]
    demand(max(spans) <= YEARS_10 and is_sorted(policy.channels), code, "more than ten years, or channels")


def on_acceptance(s, r, b):
    demand(r.says.signer not in s.accepted, "already_accepted")
    s.accepted.add(r.says.signer)


def check_act(s, name, act):
    """What holds when an act is proposed, and again when it is decided."""
    if name == "policy":
        check_policy(act.policy, s.charter, "act_invalid")
        demand(s.policies[-1][0] <= s.now, "act_pending")
    elif name == "revoke":
        key = s.keys.get(act.key)
        demand(key, "key_unknown")
        demand(not key.is_vetoed and key.until is None, "act_invalid", "revoked already")
    else:
        demand(is_sorted(act.roles), "act_invalid", "roles are not sorted")
        demand("agency" not in act.roles or act.roles == ["agency"], "act_invalid", "an agency holds no other role")
        is_known = act.principal in s.roles or name == "enrol" and act.possessions
        demand(is_known, "act_invalid", "no such principal")
        keys = [each.id for each in possessed(act, s.ledger)] if name == "enrol" else []
        own = [s.charter.record_key, s.charter.checkpoint_key, *s.charter.witnesses]
        demand(len(keys) == len(set(keys)), "act_invalid", "a key twice")
        demand(not {*s.keys, *(each.id for each in own)} & set(keys), "key_enrolled")
        demand(("custodian" in act.roles) == (act.principal in s.custodians), "custodians_fixed")
        demand(all(start <= s.now for start, _ in s.roles.get(act.principal, [])), "act_pending")


def decide_act(s, proposal):
    name, act = proposal.act
    proposal.effective = start = s.now + s.policy().quorum_delay_s
    if name == "policy":
        s.policies.append((start, act.policy))
    elif name == "revoke":
        s.keys[act.key].until = start
    else:
        s.roles.setdefault(act.principal, []).append((start, set(act.roles)))
        for key in possessed(act, s.ledger) if name == "enrol" else []:
            s.enrol(key, act.principal, start)


def on_proposal(s, r, b):
    check_act(s, *b.act)
    counted = {r.says.signer: r.keyid}
    s.proposals[r.digest] = SimpleNamespace(
        act=b.act, counted=counted, not_after=r.says.not_after, effective=None, is_vetoed=False
    )


def on_concurrence(s, r, b):
    proposal = s.proposals.get(b.proposal)
    demand(proposal, "proposal_unknown")
    is_open = proposal.effective is None and not proposal.is_vetoed and s.now <= proposal.not_after
    demand(is_open, "proposal_closed")
    proposal.counted = s.still(proposal.counted, "custodian")
    demand(r.says.signer not in proposal.counted, "already_concurred")
    proposal.counted[r.says.signer] = r.keyid
    if len(proposal.counted) >= s.charter.quorum:
        check_act(s, *proposal.act)
        decide_act(s, proposal)


def on_veto(s, r, b):
    proposal = s.proposals.get(b.proposal)
    demand(proposal, "proposal_unknown")
    is_decided = proposal.effective is not None
    demand(not proposal.is_vetoed and not (is_decided and proposal.effective <= s.now), "proposal_closed")
    proposal.is_vetoed = True
    name, act = proposal.act
    if is_decided and name == "policy":
        s.policies.pop()
    elif is_decided and name == "revoke":
        s.keys[act.key].until = None
    elif is_decided:
        s.roles[act.principal].pop()
        for key in possessed(act, s.ledger) if name == "enrol" else []:
            s.keys[key.id].is_vetoed = True


def on_asset(s, r, b):
    demand(b.asset not in s.assets, "asset_exists")
    s.assets.add(b.asset)


def on_fund(s, r, b):
    demand(b.asset in s.assets, "asset_unknown")
    is_second = any((each.asset, each.kind) == (b.asset, "fiduciary") for each in s.funds.values())
    demand(b.fund not in s.funds and not (b.kind == "fiduciary" and is_second), "fund_exists")
    demand(b.currency in s.charter.currencies, "currency_mismatch")
    s.funds[b.fund] = b


def on_bank(s, r, b):
    demand(b.bank not in s.banks, "bank_exists")
    demand(b.currency in s.charter.currencies, "currency_mismatch")
    s.banks[b.bank] = b.currency


def on_offer(s, r, b):
    amounts = [each.kind[1][0] for each in b.benefits]
    demand(all(each.currency in s.charter.currencies for each in amounts), "currency_mismatch")
    demand(all(each.minor > 0 for each in amounts), "amount_not_positive")
    demand(b.benefits and is_sorted([each.benefit for each in b.benefits]), "offer_invalid", "benefits are not sorted")
    demand(b.version == 1 + sum(offer == b.offer for offer, _ in s.offers), "offer_invalid", "version")
    s.offers[b.offer, b.version] = b


def on_case(s, r, b):
    demand(b.offer in s.offers, "offer_unknown")
    demand(b.case not in s.cases and b.agency_ref not in s.agency_refs, "case_exists")
    demand(s.holds(b.agency, "agency"), "agency_unknown")
    demand(b.entered >= s.offers[b.offer].valid_from, "case_not_eligible")
    s.cases[b.case] = SimpleNamespace(offer=b.offer, outcome=None)
    s.agency_refs.add(b.agency_ref)


def on_screening(s, r, b):
    case = s.cases.get(b.case)
    demand(case, "case_unknown")
    demand(case.outcome is None, "screening_closed")
    case.outcome = b.outcome


# --- facts ---


def fund_of(s, name, kind):
    demand(name in s.funds, "fund_unknown", name)
    demand(s.funds[name].kind == kind, "fund_wrong_kind", name)
    return s.funds[name]


def check_amounts(s, currency, banks, positive, others=()):
    demand(all(bank in s.banks for bank in banks), "bank_unknown")
    currencies = [s.banks[bank] for bank in banks] + [each.currency for each in (*positive, *others)]
    demand(set(currencies) <= {currency}, "currency_mismatch")
    demand(all(each.minor > 0 for each in positive), "amount_not_positive")


def check_day(s, value):
    demand(value <= day_of(s.now + 31 * 24 * 3600), "value_date_invalid", value)


def receipt(s, fund, bank, minor):
    back = min(minor, s.books.amount(fund, f"2600/{bank}"))
    return [dr(fund, f"2600/{bank}", back), dr(fund, f"1100/{bank}", minor - back)]


def payment(s, fund, bank, minor):
    free = min(minor, s.books.free(fund, f"1100/{bank}"))
    return [cr(fund, f"1100/{bank}", free), cr(fund, f"2600/{bank}", minor - free)]


def use(s, fund, target, minor):
    free = min(minor, s.books.free(fund, M))
    return [dr(fund, M, free), dr(fund, "7900", minor - free), cr(fund, target, minor)]


def restraint(s, b):
    fund = fund_of(s, b.fund, "fiduciary")
    check_amounts(s, fund.currency, [], [b.amount])
    return move(b.fund, f"8100/{fund.asset}", "8900", b.amount.minor)


def custody_interest(s, b):
    fund = fund_of(s, b.fund, "fiduciary")
    check_amounts(s, fund.currency, [b.bank], [b.amount])
    check_day(s, b.value_date)
    return move(b.fund, f"1150/{b.bank}", f"2300/{fund.asset}", b.amount.minor)


def custody(s, b):
    lines = custody_interest(s, b)
    restrained = f"8100/{s.funds[b.fund].asset}"
    return lines + move(b.fund, "8900", restrained, min(b.amount.minor, s.books.amount(b.fund, restrained)))


def forfeiture(s, b):
    source, target, parts = fund_of(s, b.fund, "fiduciary"), fund_of(s, b.to_fund, "spendable"), b.costs + b.claims
    demand(source.asset == target.asset, "fund_wrong_kind", "of another asset")
    demand(source.currency == target.currency, "currency_mismatch")
    check_amounts(s, source.currency, [b.bank, b.to_bank], [b.gross] + [each.amount for each in parts])
    demand(len(parts) <= 100, "too_many_shares")
    net = b.gross.minor - sum(each.amount.minor for each in parts)
    demand(net >= 0, "amounts_do_not_add_up")
    check_day(s, b.value_date)
    lines = [dr(b.fund, f"2300/{source.asset}", b.gross.minor)]
    lines += [cr(b.fund, f"2100/cost/{each.body}", each.amount.minor) for each in b.costs]
    lines += [cr(b.fund, f"2100/claimant/{each.body}", each.amount.minor) for each in b.claims]
    lines += [cr(b.fund, f"1150/{b.bank}", net)] + receipt(s, b.to_fund, b.to_bank, net)
    return lines + [cr(b.to_fund, "4101", net)] + move(b.to_fund, "7100", M, net)


def claim_payment(s, b):
    check_amounts(s, fund_of(s, b.fund, "fiduciary").currency, [b.bank], [b.amount])
    check_day(s, b.value_date)
    return move(b.fund, f"2100/{b.kind}/{b.body}", f"1150/{b.bank}", b.amount.minor)


def windfall_income(s, b):
    fund, other = fund_of(s, b.fund, "spendable"), fund_of(s, b.shares_fund, "fiduciary")
    demand(fund.asset == other.asset, "fund_wrong_kind", "of another asset")
    demand(fund.currency == other.currency, "currency_mismatch")
    check_amounts(s, fund.currency, [b.bank], [b.own] + [each.amount for each in b.shares], [b.retained])
    demand(len(b.shares) <= 100, "too_many_shares")
    check_day(s, b.value_date)
    own = b.own.minor
    lines = receipt(s, b.fund, b.bank, own) + [cr(b.fund, "4102", own)] + move(b.fund, "7100", M, own)
    for each in b.shares:
        lines += move(b.shares_fund, f"1150/{b.bank}", f"2100/other-body/{each.body}", each.amount.minor)
    return lines + move(b.shares_fund, f"8200/{other.asset}", "8900", b.retained.minor)


def bank_fee(s, b):
    check_amounts(s, fund_of(s, b.fund, "spendable").currency, [b.bank], [b.amount])
    check_day(s, b.value_date)
    fee = b.amount.minor
    return [dr(b.fund, "5102", fee)] + payment(s, b.fund, b.bank, fee) + use(s, b.fund, "7500", fee)


def find_of_bank(s, b, stage, persons):
    """The disbursement that the bank did something with, as these persons report."""
    check_day(s, getattr(b, "value_date", "0001-01-01"))
    d = find(s, b, stage)
    involved = {d.payer, *(each.signer for each in d.approvals)}
    demand(not involved & persons.keys(), "same_person")
    return d, d.body.fund, d.due, f"2200/bank/{d.bank}", f"1100/{d.bank}"


def bank_confirmation(s, b, persons):
    d, fund, due, outstanding, cash = find_of_bank(s, b, "released", persons)
    lines = move(fund, outstanding, cash, due) + [Line(fund, "post-hold", cash, due, d.hold)]
    return d, "paid", lines + move(fund, "7400", "7500", due)


def bank_rejection(s, b, persons):
    d, fund, due, outstanding, cash = find_of_bank(s, b, "released", persons)
    return d, "due", move(fund, outstanding, d.payable, due) + [Line(fund, "void-hold", cash, due, d.hold)]


def bank_return(s, b, persons):
    d, fund, due, _, _ = find_of_bank(s, b, "paid", persons)
    kept = b.kept.minor
    demand(b.kept.currency == d.body.amount.currency, "currency_mismatch")
    demand(kept <= due, "amounts_do_not_add_up")
    lines = receipt(s, fund, d.bank, due - kept) + [dr(fund, "5102", kept), cr(fund, d.payable, due)]
    return d, "due", lines + move(fund, "7500", "7400", due) + use(s, fund, "7500", kept)


RECEIPTS = {
    "restraint": restraint, "custody": custody, "custody-interest": custody_interest, "forfeiture": forfeiture,
    "claim-payment": claim_payment, "windfall-income": windfall_income, "bank-fee": bank_fee,
}  # fmt: skip
OF_BANK = {"bank-confirmation": bank_confirmation, "bank-rejection": bank_rejection, "bank-return": bank_return}


def on_report(s, r, b):
    return gather(s, r, r, {r.says.signer: r.keyid})


def on_countersignature(s, r, b):
    report, persons = s.reports.get(b.report, (None, {}))
    demand(report and s.now <= report.says.not_after, "report_unknown")
    persons = s.still(persons, "reconciler")
    demand(r.says.signer not in persons, "already_signed")
    return gather(s, r, report, persons | {r.says.signer: r.keyid})


def gather(s, r, report, persons):
    """The entry of a report, if these persons are enough; until then it waits."""
    kind, b, policy = report.kind, report.says.body, s.policy()
    made = OF_BANK[kind](s, b, persons) if kind in OF_BANK else (None, None, RECEIPTS[kind](s, b))
    d, stage, lines = made
    is_of_bank = kind in OF_BANK or kind == "bank-fee"
    if len(persons) < (policy.bank_report_persons if is_of_bank else policy.receipt_persons):
        s.reports[report.digest] = (report, persons)
        return None
    s.reports.pop(report.digest, None)
    lines = [each for each in lines if each.minor]
    if d:
        step(d, stage, r, lines)
        d.came_back = d.came_back or stage == "due"
    else:
        s.facts[report.digest] = SimpleNamespace(entry=r.digest + "-0", lines=lines, is_reversed=False)
    authority = [report.digest] if report is not r else []
    return Entry(lines, d, authority, getattr(b, "value_date", None))


# --- disbursements ---


def find(s, b, stages, request=None):
    """The disbursement that an instruction names, at one of these stages."""
    d = s.disbursements.get(b.disbursement)
    demand(d, "disbursement_unknown")
    demand(not is_over(s, d), "disbursement_expired")
    demand(request in (None, d.request), "request_differs")
    demand(d.stage in stages.split(), "wrong_stage", d.stage)
    return d


def can_lapse(d):
    return d.stage in ("requested", "obligated") or d.stage == "due" and not d.came_back


def is_over(s, d):
    return can_lapse(d) and s.now > d.body.expires


def step(d, stage, r=None, lines=None):
    """Moves to a stage; what can be reversed says by which record, and by which lines."""
    d.last = r and SimpleNamespace(entry=r.digest + "-0", lines=lines, before=d.stage)
    d.stage = stage


def band_of(s, money):
    bands = [each for each in s.policy().bands if each.up_to.currency == money.currency and each.up_to >= money]
    demand(bands, "no_band")
    return bands[0]


def on_request(s, r, b):
    fund = fund_of(s, b.fund, "spendable")
    demand(b.amount.currency == fund.currency, "currency_mismatch")
    demand(b.amount.minor > 0, "amount_not_positive")
    demand(b.offer in s.offers, "offer_unknown")
    demand(b.case in s.cases, "case_unknown")
    case = s.cases[b.case]
    demand(case.offer == b.offer, "offer_unknown")
    demand(b.disbursement not in s.disbursements, "disbursement_exists")
    demand(case.outcome is not None, "screening_open")
    demand(case.outcome == "cleared", "screening_refused")
    kinds = [each.kind for each in s.offers[b.offer].benefits if each.benefit == b.benefit]
    demand(kinds and b.occurrence == 1, "benefit_unknown")
    ((kind, (offered,)),) = kinds
    demand(b.amount.currency == offered.currency, "currency_mismatch")
    demand(b.amount == offered or kind != "cash" and b.amount < offered, "amount_not_offered")
    demand(b.channel[0] in s.policy().channels, "channel_not_allowed")
    band_of(s, b.amount)
    demand(s.now < b.expires <= s.now + s.policy().expiry_max_s, "expiry_invalid")
    demand((b.case, b.benefit, b.occurrence) not in s.obligations, "obligation_exists")
    demand(not s.books.amount(b.fund, "7900"), "fund_blocked")
    d = SimpleNamespace(body=b, request=r.digest, preparer=r.says.signer, is_cash=kind == "cash", stage="requested")
    d.commitment = hmac.digest(bytes.fromhex(b.salt), b.case.encode(), "sha256").hex()
    d.hold, d.holds, d.approvals, d.payer, d.came_back, d.last = f"{b.disbursement}.1", 1, [], None, False, None
    s.disbursements[b.disbursement] = d
    s.obligations.add((b.case, b.benefit, b.occurrence))
    return Entry([Line(b.fund, "hold", M, b.amount.minor, d.hold)], d)


Approval = namedtuple("Approval", "signer key policy digest")


def counting(s, d):
    """The approvals whose keys are valid, and whose signers may approve, now."""
    return [each for each in d.approvals if s.is_valid(each.key) and s.holds(each.signer, "approver", "director")]


def are_enough(s, approvals, band):
    directors = sum(s.holds(each.signer, "director") for each in approvals)
    return len(approvals) >= band.approvers and directors >= band.directors


def on_approval(s, r, b):
    d, e, signer = find(s, b.effect, "requested"), b.effect, r.says.signer
    q, fund, minor = d.body, d.body.fund, d.body.amount.minor
    same = {name: getattr(q, name) for name in "amount benefit channel disbursement expires fund offer".split()}
    demand(e == e._replace(**same, most=q.amount, preparer=d.preparer, request=d.request), "effect_differs")
    demand(e.policy == s.version(), "policy_changed")
    demand(signer != d.preparer, "own_request")
    earlier = [each for each in counting(s, d) if each.policy == s.version()]
    demand(all(each.signer != signer for each in earlier), "already_approved")
    band = band_of(s, q.amount)
    d.approvals = earlier + [Approval(signer, r.keyid, s.version(), r.digest)]
    if not are_enough(s, d.approvals, band):
        return None
    lines = [Line(fund, "post-hold", M, minor, d.hold)]
    if d.is_cash:
        d.payable, d.due = f"2100/disbursement/{q.disbursement}", minor
        lines = move(fund, "5101", d.payable, minor) + lines + move(fund, M, "7400", minor)
    else:
        lines += move(fund, M, "7300", minor)
    step(d, "due" if d.is_cash else "obligated")
    return Entry(lines, d, [d.request] + [each.digest for each in earlier])


def end(s, d, stage):
    """Rejects, cancels or lapses, and frees the obligation."""
    q, fund, minor = d.body, d.body.fund, d.body.amount.minor
    if d.stage == "requested":
        lines = [Line(fund, "void-hold", M, minor, d.hold)]
    elif d.stage == "obligated":
        lines = move(fund, "7300", M, minor)
    else:
        lines = move(fund, d.payable, "5101", d.due) + move(fund, "7400", M, d.due)
    s.obligations.remove((q.case, q.benefit, q.occurrence))
    step(d, stage)
    return Entry(lines, d, [d.request])


def on_rejection(s, r, b):
    return end(s, find(s, b, "requested", b.request), "rejected")


def on_cancellation(s, r, b):
    return end(s, find(s, b, "requested obligated due", b.request), "cancelled")


def lapse(s, p):
    d = s.disbursements.get(p.disbursement)
    demand(p.ledger == s.ledger and d and is_over(s, d), "lapse_not_due")
    demand((p.request, p.expired) == (d.request, d.body.expires), "lapse_not_due")
    return end(s, d, "lapsed")


def on_delivery(s, r, b):
    demand(b.invoiced.minor > 0, "amount_not_positive")
    check_day(s, b.delivered)
    d = find(s, b, "obligated")
    fund, invoiced, unused = d.body.fund, b.invoiced.minor, d.body.amount.minor - b.invoiced.minor
    demand(b.invoiced.currency == d.body.amount.currency, "currency_mismatch")
    demand(unused >= 0, "invoice_too_high")
    d.payable, d.due = f"2100/vendor/{b.vendor}", invoiced
    lines = move(fund, "5101", d.payable, invoiced) + move(fund, "7300", "7400", invoiced)
    lines += move(fund, "7300", M, unused) if unused else []
    step(d, "due", r, lines)
    return Entry(lines, d, [d.request], b.delivered)


def on_release(s, r, b):
    demand(b.bank in s.banks, "bank_unknown")
    d = find(s, b, "due", b.request)
    fund = d.body.fund
    demand(s.banks[b.bank] == d.body.amount.currency, "currency_mismatch")
    band = band_of(s, d.body.amount)
    demand(r.says.signer not in {d.preparer, *(each.signer for each in d.approvals)}, "same_person")
    demand(are_enough(s, counting(s, d), band), "approvals_void")
    demand(not s.books.amount(fund, f"2600/{b.bank}"), "bank_overdrawn")
    d.bank, d.payer, d.holds = b.bank, r.says.signer, d.holds + 1
    d.hold = f"{b.disbursement}.{d.holds}"
    lines = move(fund, d.payable, f"2200/bank/{d.bank}", d.due) + [Line(fund, "hold", f"1100/{d.bank}", d.due, d.hold)]
    step(d, "released", r, lines)
    return Entry(lines, d, [d.request] + [each.digest for each in d.approvals])


def reversed_line(each):
    swapped = {"debit": "credit", "credit": "debit", "hold": "void-hold"}
    if each.action in swapped:
        return each._replace(action=swapped[each.action])
    return each._replace(action="hold", hold=each.hold + ".r")


def on_reversal(s, r, b):
    name, subject = b.subject
    if name == "fact":
        fact = s.facts.get(subject)
        demand(fact and fact.entry == b.entry and not fact.is_reversed, "nothing_to_reverse")
        fact.is_reversed = True
        return Entry([reversed_line(each) for each in fact.lines], reverses=b.entry)
    d = s.disbursements.get(subject)
    demand(d, "disbursement_unknown")
    demand(d.last and d.last.entry == b.entry, "nothing_to_reverse")
    lines = [reversed_line(each) for each in d.last.lines]
    d.hold = next((each.hold for each in lines if each.action == "hold"), d.hold)
    d.came_back = d.came_back or d.stage == "released"
    step(d, d.last.before)
    return Entry(lines, d, reverses=b.entry)


RULES = {
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
    **{kind: ("reconciler", on_report) for kind in (*RECEIPTS, *OF_BANK)},
}


def entry_payload(s, cause, entry):
    """The bytes of the entry that the record with this digest causes."""
    value = {"authority": [*entry.authority, cause], "effective": entry.effective or day_of(s.now), "id": cause + "-0"}
    value |= {"ledger": s.ledger, "lines": []}
    for fund, action, name, minor, hold in entry.lines:
        currency = s.funds[fund].currency
        written = {"account": name, "action": action, "amount": show(minor, currency), "currency": currency, "fund": fund}
        value["lines"].append(written | ({"hold": hold} if hold else {}))
    if entry.about:
        q = entry.about.body
        value |= {"benefit": q.benefit, "case_commitment": entry.about.commitment, "disbursement": q.disbursement}
    return canonical(value | ({"reverses": entry.reverses} if entry.reverses else {}))


# --- replay ---


class Replay:
    """The log so far: each record is taken at the next position, or refuted there."""

    def __init__(self, ledger):
        self.ledger, self.tree, self.state, self.carried, self.expected = ledger, Tree(), None, {}, None

    def take(self, leaf):
        record = parse_record(leaf)
        if self.state is None and record.kind == "founding":
            charter = record.says.body
            keys = [charter.record_key, charter.checkpoint_key, *(each.key for each in charter.custodians)]
            self.carried = {key.id: key.raw for key in keys}
        demand(record.keyid in self.carried, "key_unknown")
        demand(is_signature(self.carried[record.keyid], record.message, record.signature), "bad_signature")
        if self.state is None:
            self.found(record)
        elif self.expected is not None:
            self.take_entry(record)
        else:
            self.follow(record)
        self.tree.append(record.leaf)

    def found(self, record):
        demand(record.kind == "founding" and record.digest == self.ledger, "other_ledger")
        keys = {each.principal: each.key.id for each in record.says.body.custodians}
        demand(keys.get(record.says.signer) == record.keyid, "founding_invalid", "not signed by a custodian")
        check_founding(record.says.body)
        self.state = State(record)

    def take_entry(self, record):
        demand(record.kind == "entry", "entry_missing")
        self.check_ledgers_key(record)
        demand(record.payload == self.expected, "entry_altered", f"it should be {self.expected.decode()}")
        self.expected = None

    def check_ledgers_key(self, record):
        demand(record.keyid == self.state.charter.record_key.id, "not_the_ledgers_key")

    def follow(self, record):
        s, says = self.state, record.says
        demand(record.kind != "founding", "ledger_founded")
        demand(s.groups or record.kind == "group", "outside_group")
        demand(record.kind != "entry", "entry_unexpected")
        if record.kind in RULES:
            roles, rule = RULES[record.kind]
            check_frame(s, record, roles)
            self.cause(record, rule(s, record, says.body))
            s.ids[says.signer, says.id] = (says.not_after, record.digest)
            if record.kind == "proposal" and says.body.act[0] == "enrol":
                self.carried |= {key.id: key.raw for key in possessed(says.body.act[1], s.ledger)}
            return
        self.check_ledgers_key(record)
        if record.kind == "lapse":
            self.cause(record, lapse(s, says))
        else:
            self.begin_group(says)

    def cause(self, record, entry):
        if entry:
            entry = entry._replace(lines=[each for each in entry.lines if each.minor])
            self.state.books.post(entry.lines, self.state.funds)
            for fund in {each.fund for each in entry.lines}:
                self.state.books.prove(fund, self.state.funds[fund].kind)
            self.expected = entry_payload(self.state, record.digest, entry)

    def begin_group(self, group):
        s = self.state
        self.end_group()
        demand(group.first == self.tree.size, "group_position", str(group.first))
        demand(group.ledger == self.ledger, "group_ledger")
        demand(group.root == self.tree.root().hex(), "group_root")
        demand(group.recorded_at >= s.now, "group_time")
        demand(group.rules == 1, "group_rules")
        s.now = group.recorded_at
        s.groups[group.first] = (group.root, s.now)

    def end_group(self):
        s = self.state
        latest = s.now - s.policy().lapse_grace_s
        for name, d in s.disbursements.items():
            demand(not can_lapse(d) or d.body.expires >= latest, "lapse_missing", name)

    def finish(self):
        demand(self.expected is None, "cut_off")
        self.end_group()
        for name, fund in self.state.funds.items():
            self.state.books.prove(name, fund.kind)


# --- the bundle ---

HEADER = struct("balances:integer balances_at:integer checkpoint:note format:format ledger:digest records:integer")


def claim(value):
    meant = struct("account:account amount:any currency:currency fund:id held:any")(value)
    amounts = [amount(text, meant.currency, "-?").minor for text in (meant.amount, meant.held)]
    return (meant.fund, meant.account, meant.currency), Balance(*amounts)


def read_line(stream, limit, missing, line, **position):
    data = stream.readline(limit + 1)
    with placed(**position):
        demand(data, missing)
    with placed(line=line, **position):
        demand(data.endswith(b"\n"), "line_too_long" if len(data) > limit else "line_unterminated")
    return data[:-1]


def parse_line(data, form, code):
    try:
        value = parse_json(data)
        meant = form(value)
    except Invalid as invalid:
        raise Flaw(code, str(invalid)) from None
    demand(canonical(value) == data, code, "not canonical")
    return meant


def compare(claimed, s):
    actual = {(fund, name, s.funds[fund].currency): each for (fund, name), each in s.books.balances.items()}
    for number, (key, balance) in enumerate(claimed.items(), 2):
        with placed(line=number):
            demand(balance == actual.get(key, Balance()), "balance_differs", f"{key} has {actual.get(key)}")
    with placed(line=1):
        for key, balance in actual.items():
            demand(key in claimed or balance == Balance(), "balance_missing", str(key))


def audit(stream, ledger):
    """Verifies a bundle, or raises the first flaw."""
    data = read_line(stream, 132072, "header_missing", 1)
    with placed(line=1):
        header = parse_line(data, HEADER, "header_malformed")
        demand(header.ledger == ledger, "other_ledger")
        demand(header.balances_at <= header.records, "balances_at_beyond")
        demand(header.balances_at > 0, "balances_at_within_group")
    claimed, number = {}, 1
    for number in range(2, header.balances + 2):
        data = read_line(stream, 66000, "balances_missing", number)
        with placed(line=number):
            key, balance = parse_line(data, claim, "balance_malformed")
            demand(not claimed or key > next(reversed(claimed)), "balance_order")
        claimed[key] = balance
    replay = Replay(ledger)
    for position in range(header.records):
        number += 1
        leaf = read_line(stream, 66000, "records_missing", number, position=position)
        with placed(line=number, position=position):
            replay.take(leaf)
        with placed(line=1):
            if position == 0:
                root = checked_root(header.checkpoint, replay.state.charter, header.records)
            elif position == header.balances_at:
                demand(position in replay.state.groups, "balances_at_within_group")
            if position + 1 == header.balances_at:
                compare(claimed, replay.state)
    with placed(position=header.records):
        replay.finish()
    with placed(line=1):
        demand(replay.tree.root() == root, "checkpoint_root")
    with placed(line=number + 1):
        demand(not stream.read(1), "trailing_data")


def verdict(path, ledger):
    try:
        with open(path, "rb") as stream:
            audit(stream, ledger)
    except Flaw as flaw:
        place = {name: str(value) for name, value in flaw.place.items()}
        return {"code": flaw.code, "outcome": "refuted", "reason": flaw.reason} | place
    return {"outcome": "verified"}


def main():
    parser = argparse.ArgumentParser(description="Verifies audit bundles offline, from the specification alone.")
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--ledger", required=True, metavar="ID")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not re.fullmatch("[0-9a-f]{64}", arguments.ledger):
        parser.error("a ledger's id is 64 lower-case hexadecimal digits")
    status = 0
    for path in arguments.bundles:
        try:
            found = verdict(path, arguments.ledger)
        except OSError as error:
            found = {"outcome": "failed", "reason": str(error)}
        status = max(status, {"verified": 0, "refuted": 1, "failed": 2}[found["outcome"]])
        place = " ".join(f"{name} {found[name]}" for name in ("position", "line") if name in found)
        words = [found["outcome"].upper(), place and f"at {place}", found.get("code", ""), found.get("reason", "")]
        print(json.dumps({"verdict": found}) if arguments.json else " ".join(filter(None, words)))
    return status


if __name__ == "__main__":
    sys.exit(main())
