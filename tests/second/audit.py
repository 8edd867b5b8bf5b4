"""A second audit of a bundle, written from docs/spec alone; it shares nothing with the crates.

Usage: audit.py BUNDLE... --ledger ID [--json]. Prints for each VERIFIED, or REFUTED with place, code and reason. Exits
with 0 if all are verified, 1 if one is refuted, 2 if one could not be read."""

import argparse, base64, datetime, hashlib, hmac, json, re, sys, unicodedata
from collections import defaultdict, namedtuple
from functools import lru_cache, partial
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

class Flaw(Exception):
    """What is wrong: a code, and why."""

def demand(condition, code, reason=""):
    if not condition: raise Flaw(code, reason)

def guard(*pairs):  # of a condition and a code
    for condition, code in zip(pairs[::2], pairs[1::2], strict=True): demand(condition, code)

def expect(condition, reason):
    if not condition: raise ValueError(reason)

def encode(value):  # canonical JSON of objects, arrays and strings, where every name is ASCII
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")

def parse(data, form, invalid, uncanonical):
    """What JSON of a closed form means; encoded again it shows white space, order, escapes and a name twice."""
    try:
        meant, encoded = form(value := json.loads(data.decode("utf-8"))), encode(value)
    except (ValueError, RecursionError) as error:
        raise Flaw(invalid, str(error)) from None
    demand(encoded == data, uncanonical)
    return meant

# --- forms: functions from JSON to what it means, or ValueError ---
MINOR_UNITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
    "CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL "
    "HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR "
    "MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
    "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD YER ZAR ZMW "
    "ZWG", 3: "BHD IQD JOD KWD LYD OMR TND", 4: "CLF UYW"}
MINOR_UNITS = {code: units for units, codes in MINOR_UNITS.items() for code in codes.split()}
EPOCH, MAX_INTEGER, SPKI_PREFIX = datetime.datetime(1970, 1, 1), 2**63 - 1, bytes.fromhex("302a300506032b6570032100")
END, NEVER = 253402300799, 253402300800  # the last second of the year 9999, and the one after it
HIDDEN = re.compile("[\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
Money, PublicKey = namedtuple("Money", "minor currency"), namedtuple("PublicKey", "id raw")

def pattern(regex):
    def form(value):
        expect(isinstance(value, str) and re.fullmatch(regex, value), f"not of the form {regex}")
        return value
    return form

def form_named(name):  # `form*` is an array of that form, `=a|b` one of these words
    if name.endswith("*"):
        item = form_named(name[:-1])
        def form(value):
            expect(isinstance(value, list), "no array")
            return [item(each) for each in value]
        return form
    return pattern(name[1:]) if name.startswith("=") else FORMS[name]

def choice(text):
    members = {name: form_named(form) for name, form in (each.split(":") for each in text.split())}
    def form(value):
        expect(isinstance(value, dict) and len(value) == 1 and value.keys() <= members.keys(), "no such choice")
        ((name, contents),) = value.items()
        return name, members[name](contents)
    return form

def struct(text):  # an object of `name:form`, or `name?:form` for what may be left out
    fields = [each.split(":") for each in text.split()]
    members = {name.rstrip("?"): (form_named(form), name.endswith("?")) for name, form in fields}
    meant = namedtuple("Struct", members)
    def form(value):
        expect(isinstance(value, dict) and value.keys() <= members.keys(), "no object, or a member too many")
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
    expect((minor != 0 or text[0] != "-") and abs(minor) <= most_minor(currency), "minus zero, or too large")
    return Money(minor, currency)

def time(value):
    pattern("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")(value)
    return (datetime.datetime.fromisoformat(value[:-1]) - EPOCH) // datetime.timedelta(seconds=1)

def day(value): return datetime.date.fromisoformat(pattern("[0-9]{4}-[0-9]{2}-[0-9]{2}")(value)).isoformat()
def day_of(seconds): return (EPOCH + datetime.timedelta(seconds=seconds)).date().isoformat()
def check_day(s, value): demand(value <= day_of(s.now + 31 * 86400), "value_date_invalid", value)
def most_minor(currency): return min(10 ** (15 + MINOR_UNITS[currency]) - 1, MAX_INTEGER)

def text(value):  # a text. What is NFC depends on the version of Unicode; Python 3.11 has 14
    expect(isinstance(value, str) and 1 <= len(value) <= 500, "no text of 1 to 500 characters")
    is_plain = not HIDDEN.search(value) and all(unicodedata.category(c) != "Cc" for c in value)
    expect(is_plain and unicodedata.is_normalized("NFC", value), "hidden characters, or not NFC")
    return value

def base64_bytes(value):
    expect(isinstance(value, str), "no base64")
    data = base64.b64decode(value, validate=True)
    expect(base64.b64encode(data).decode() == value, "another base64")
    return data

def public_key(value):
    spki = FORMS["spki"](value).spki
    expect(len(spki) == 44 and spki.startswith(SPKI_PREFIX) and is_point(spki[12:]), "no public key")
    return PublicKey(hashlib.sha256(spki).hexdigest(), spki[12:])

def line(value):
    meant = FORMS["any-line"](value)
    is_fit = (meant.hold is not None) == meant.action.endswith("hold")
    expect(is_fit and amount(meant.amount, meant.currency).minor > 0, "a hold too many or too few, or nothing")
    return meant

NAME, M = "/[a-z0-9_-]{1,64}", "7210/main"  # The chart of accounts.
ACCOUNT = (
    f"(1100|1150|2300|2500|2600|7210|8100|8200){NAME}|1200/(asset-costs|depository|disbursement|vendor){NAME}|"
    f"1300/(agent|imprest|vendor){NAME}|2100/(claimant|cost|disbursement|other-body|owner|vendor){NAME}|"
    f"2200/(agent|bank){NAME}|3100|410[1-8]|510[1-9]|5110|6100|7100|7200|7300|7400|7500|7900|8900")
DEBIT, UNLIMITED = ("11", "12", "13", "5", "6", "71", "79", "81", "82"), ("25", "3", "4", "5", "6", "89")

FORMS = {
    "account": pattern(ACCOUNT), "any": lambda value: value, "base64": base64_bytes, "day": day, "integer": integer,
    "currency": pattern("|".join(MINOR_UNITS)), "digest": pattern("[0-9a-f]{64}"), "text": text, "time": time,
    "envelope": lambda value: parse_envelope(value), "entry-id": pattern("[0-9a-f]{64}-0"), "key": public_key,
    "hold": pattern("[a-z0-9_.-]{1,96}"), "id": pattern("[a-z0-9_-]{1,64}"), "note": pattern("(?s:.*)"), "line": line,
    "money": lambda value: amount(*FORMS["money-text"](value)), "payload-type": pattern("[\x20-\x7e]{1,255}"),
    "role": pattern("agency|approver|auditor|custodian|director|payer|preparer|reconciler|screener|service"),
    "token": pattern("[a-z0-9./_-]{1,100}"),
    "uuid": pattern("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")}
ACTIONS = "debit|credit|hold|post-hold|void-hold"
SETTINGS = "bank_report_persons basis_age_s expiry_max_s gap_s lapse_grace_s quorum_delay_s receipt_persons skew_s"
SCHEMA = f"""
money-text = amount:any currency:currency
spki = algorithm:=ed25519 spki:base64
any-line = account:account action:={ACTIONS} amount:any currency:currency fund:id hold?:hold
evidence = holder:id kind:text sha256:digest
offer-version = offer:id version:integer
part = amount:money body:id
band = approvers:integer directors:integer up_to:money
witness = key:key name:token statement:=consistent|replayed
publication = every_s:integer multiple:integer
witnessing = replays:integer threshold:integer witnesses:witness*
policy = bands:band* channels:=manual* {SETTINGS.replace(" ", ":integer ")}:integer publication?:publication \
witnessing?:witnessing
empty acceptance =
signature = keyid:digest sig:base64
dsse = payload:base64 payloadType:payload-type signatures:signature*
channel ? manual:empty
cash = amount:money
in-kind = ceiling:money
benefit-kind ? cash:cash in-kind:in-kind
benefit = benefit:id kind:benefit-kind
subject ? disbursement:id fact:digest
enrol = expires?:time possessions:envelope* principal:id roles:role* spares?:envelope*
activation = reason:text replaces?:digest since?:integer
set-policy = policy:policy
revoke = key:digest reason:text since?:integer
set-roles = principal:id roles:role*
basis = root:digest size:integer
ledgers-keys = checkpoint_key:key record_key:key
reopen = checkpoint:note continued:basis keys?:ledgers-keys origin:token
act ? enrol:enrol policy:set-policy reopen:reopen revoke:revoke roles:set-roles
effect = amount:money benefit:id channel:channel disbursement:id expires:time fund:id most:money offer:offer-version \
policy:integer preparer:id request:digest
proposal = act:act
concurrence = proposal:digest
veto = proposal:digest reason:text
asset-registration = asset:id description:text instrument:evidence
fund-opening = asset:id currency:currency fund:id kind:=fiduciary|spendable
bank-opening = bank:id currency:currency
restraint = amount:money fund:id instrument:evidence
custody custody-interest bank-fee = amount:money bank:id evidence:evidence fund:id value_date:day
forfeiture = bank:id claims:part* costs:part* fund:id gross:money instrument:evidence to_bank:id to_fund:id value_date:day
claim-payment = amount:money bank:id body:id evidence:evidence fund:id kind:=claimant|cost|other-body value_date:day
windfall-income = bank:id evidence:evidence fund:id own:money retained:money shares:part* shares_fund:id value_date:day
countersignature = report:digest
reversal = entry:entry-id reason:text subject:subject
offer = benefits:benefit* offer:id valid_from:day version:integer
case-opening = agency:id agency_ref:id case:id entered:day offer:offer-version
screening = case:id evidence:evidence outcome:=cleared|refused person:digest
request = amount:money benefit:id case:id channel:channel disbursement:id expires:time fund:id occurrence:integer \
offer:offer-version salt:digest
approval = effect:effect
rejection cancellation = disbursement:id reason:text request:digest
delivery = delivered:day disbursement:id evidence:evidence invoiced:money vendor:id
release = bank:id disbursement:id request:digest
bank-confirmation = disbursement:id evidence:evidence value_date:day
bank-rejection = disbursement:id evidence:evidence
bank-return = disbursement:id evidence:evidence kept:money value_date:day
custodian = key:key principal:id
charter = checkpoint_key:key currencies:currency* custodians:custodian* origin:token policy:policy quorum:integer \
record_key:key
founding = body:charter id:uuid issued_at:time key:digest signer:id
group = epoch:token first:integer ledger:digest record_key?:key recorded_at:time root:digest rules:integer
entry = authority:digest* benefit?:id case_commitment?:digest disbursement?:id effective:day id:entry-id ledger:digest \
lines:line* reverses?:entry-id
lapse = disbursement:id expired:time ledger:digest request:digest
pad = ledger:digest position:integer public_from:time
key-possession = key:key ledger:digest principal:id
header = balances:integer balances_at:integer checkpoint:note format:=safeconduct-bundle[.]v1 ledger:digest records:integer
balance = account:account amount:any currency:currency fund:id held:any
"""
for definition in SCHEMA.strip().split("\n"):
    names, mark, members = re.fullmatch("(.*?) ([=?]) ?(.*)", definition).groups()
    FORMS |= dict.fromkeys(names.split(), (struct if mark == "=" else choice)(members))

P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # Ed25519, strict.
D = -121665 * pow(121666, -1, P) % P
OF_ORDER_8 = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
SMALL = (0, 1, P - 1, OF_ORDER_8, P - OF_ORDER_8)

def is_strict(point):  # canonical, and not of small order
    y = int.from_bytes(point, "little") % 2**255
    return y < P and y not in SMALL

@lru_cache(4096)
def is_point(point):
    y = int.from_bytes(point, "little") % 2**255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return is_strict(point) and pow(square, (P - 1) // 2, P) == 1

@lru_cache(65536)
def is_signature(key, message, signature):  # without cofactor: R is compared as bytes, so where equal it is canonical
    if not is_point(key) or not is_strict(signature[:32]) or int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        return Ed25519PublicKey.from_public_bytes(key).verify(signature, message) is None
    except InvalidSignature:
        return False

# --- records ---
Record = namedtuple("Record", "kind says payload keyid signature message digest leaf")
OURS = re.compile(r"application/vnd\.safeconduct\.([a-z-]+)\.v1\+json")

def parse_envelope(value):
    payload, kind, signatures = FORMS["dsse"](value)
    demand(len(signatures) == 1, "envelope_signature_count")
    demand(len(signatures[0].sig) == 64, "envelope_signature_length")
    return kind, payload, *signatures[0]

def sha256(*parts): return hashlib.sha256(b"".join(parts)).digest()
def pre_authentication(kind, payload): return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)

@lru_cache(65536)
def parse_record(leaf):
    demand(len(leaf) <= 65000, "envelope_too_large")
    kind, payload, keyid, signature = parse(leaf, parse_envelope, "envelope_not_json", "envelope_not_canonical")
    message, ours = pre_authentication(kind, payload), OURS.fullmatch(kind)
    demand(ours and ours[1] in {*RULES, "founding", "group", "entry", "lapse", "pad"}, "payload_type_unknown", kind)
    says = parse(payload, FRAMES.get(ours[1]) or FORMS[ours[1]], "payload_invalid", "payload_not_canonical")
    demand(getattr(says, "key", keyid) == keyid, "payload_key_mismatch")
    return Record(ours[1], says, payload, keyid, signature, message, sha256(message).hex(), sha256(b"\0", leaf))

def possession(envelope):
    kind, payload, keyid, signature = envelope
    says = parse(payload, FORMS["key-possession"], "possession_invalid", "possession_invalid")
    is_signed = is_signature(says.key.raw, pre_authentication(kind, payload), signature)
    demand(is_signed and keyid == says.key.id and OURS.sub(r"\1", kind) == "key-possession", "possession_invalid")
    return says

def grown(peaks, leaf):  # the roots of the full subtrees from the left, with their sizes, after a further leaf
    size, node, peaks = 1, leaf, list(peaks)
    while peaks and peaks[-1][0] == size:
        size, node = 2 * size, sha256(b"\1", peaks.pop()[1], node)
    return [*peaks, (size, node)]

def root_of(peaks):
    *lefts, (_, node) = peaks
    for _, left in reversed(lefts): node = sha256(b"\1", left, node)
    return node

def head_of(note):  # origin, size and root of a checkpoint; what is signed; the signatures, each with its key's name
    found = re.fullmatch("(([^\\s+]+)\n(0|[1-9][0-9]*)\n(.+)\n)\n((?:\u2014 [^\\s+]+ \\S+\n)+)", note)
    demand(found and not re.search("[\0-\t\v-\x1f\x7f]", note) and len(note.encode()) <= 65536, "checkpoint_malformed")
    signed, origin, size, root, lines = found.groups()
    try:
        root, words = base64_bytes(root), [each.split(" ") for each in lines.splitlines()]
        signatures = [(name, base64_bytes(blob)) for _, name, blob in words]
    except ValueError as error:
        raise Flaw("checkpoint_malformed", str(error)) from None
    is_sized = len(root) == 32 and len(size) <= 20 and int(size) < 2**64
    demand(is_sized and all(len(blob) > 4 for _, blob in signatures), "checkpoint_malformed")
    return (origin, int(size), root), signed.encode(), signatures

def signed_head(note, key):  # origin, size and root of a checkpoint that this key of the log's signed
    head, signed, signatures = head_of(note)
    own = signatures_by(signatures, head[0], key, b"\n\1")
    is_signed = all(len(each) == 64 and is_signature(key.raw, signed, each) for each in own)
    guard(own, "checkpoint_unsigned", is_signed, "checkpoint_signature")
    return head

def signatures_by(signatures, name, key, kind):
    return [blob[4:] for of, blob in signatures if (of, blob[:4]) == (name, sha256(name.encode(), kind, key.raw)[:4])]

def is_cosigned(note, witnessing):  # by as many witnesses as policy demands
    (_, signed, signatures), says = head_of(note), []
    for each in witnessing.witnesses:
        own = signatures_by(signatures, each.name, each.key, b"\n\4")
        for time, signature in ((int.from_bytes(blob[:8]), blob[8:]) for blob in own):
            text = b"cosignature/v1\ntime %d\n%s" % (time, signed)
            is_good = len(signature) == 64 and time <= MAX_INTEGER and is_signature(each.key.raw, text, signature)
            demand(is_good, "act_invalid", "a cosignature")
        says += [each.statement] * bool(own)
    return len(says) >= witnessing.threshold and says.count("replayed") >= witnessing.replays

# --- the books ---
Line = namedtuple("Line", "action fund account minor hold", defaults=(None,))
dr, cr, hold_on, post_hold, void_hold = (partial(Line, action) for action in ACTIONS.split("|"))
def move(fund, source, target, minor): return [dr(fund, source, minor), cr(fund, target, minor)]
Balance, Keys = namedtuple("Balance", "amount held", defaults=(0, 0)), namedtuple("Keys", "checkpoint_key record_key")

class Books:  # balances by fund and account on its normal side, their sums by fund and account's code, and the open holds
    def __init__(self): self.balances, self.totals, self.holds = defaultdict(Balance), defaultdict(int), {}

    def amount(self, fund, name): return self.balances[fund, name].amount
    def free(self, fund, name): return self.amount(fund, name) - self.balances[fund, name].held

    def take(self, lines, funds):
        planes = defaultdict(int)
        for action, fund, name, minor, hold in lines:
            change = held = 0
            if action in ("debit", "credit"):
                change = minor if action == ("debit" if name.startswith(DEBIT) else "credit") else -minor
                planes[fund, name[0] if name[0] in "78" else "proprietary"] += minor if action == "debit" else -minor
            elif action == "hold":
                demand(hold not in self.holds, "books_refuse", "a hold twice")
                self.holds[hold], held = (fund, name, minor), minor
            else:
                demand(self.holds.pop(hold, None) == (fund, name, minor), "books_refuse", "no such hold")
                held = -minor
            old = self.balances[fund, name]
            self.balances[fund, name] = Balance(old.amount + change, old.held + held)
            self.totals[fund, name[:4]] += change
        demand(not any(planes.values()), "books_refuse", "it does not balance")
        for fund, name in {(each.fund, each.account) for each in lines}:
            demand(name.startswith(UNLIMITED) or self.free(fund, name) >= 0, "insufficient_funds", f"{name} of {fund}")
            limit = most_minor(funds[fund].currency)
            demand(abs(self.amount(fund, name)) <= limit, "amount_too_large", f"{name} of {fund}")
        for fund in {each.fund for each in lines}:
            self.prove(fund, funds[fund].kind)

    def prove(self, fund, kind):
        def sums(*codes): return sum(self.totals[fund, code] for code in codes)
        unspent = sums("7200", "7210", "7300") - sums("7900")
        earned = sums("3100", *map(str, range(4101, 4109))) - sums(*map(str, range(5101, 5111)))
        proofs = {
            "P1": sums("7100") == unspent + sums("7400", "7500"), "P2": sums("7400") == sums("2100", "2200"),
            "P3": sums("1100", "1300") - sums("2600") == unspent + sums("7400"), "P4": earned == unspent + sums("1200")}
        if kind == "fiduciary":
            proofs = {"custody": sums("1150") == sums("2300", "2100")}
        for name, holds in proofs.items(): demand(holds, "proof_differs", f"{name} of {fund}")

class State:
    def __init__(self, founding):
        self.ledger, self.charter, self.now = founding.digest, founding.says.body, founding.says.issued_at
        self.books, self.groups, self.policies = Books(), {}, [(self.now, self.charter.policy)]
        self.custodians, self.accepted = {each.principal for each in self.charter.custodians}, {founding.says.signer}
        self.keys, self.roles = {}, {each: [(self.now, {"custodian"})] for each in self.custodians}
        for each in self.charter.custodians: self.enrol(each.key, each.principal, self.now)
        self.ids, self.proposals, self.reports, self.facts, self.owed, self.is_open = {}, {}, {}, {}, None, False
        self.assets, self.funds, self.banks, self.offers, self.cases = set(), {}, {}, {}, {}
        self.agency_refs, self.disbursements, self.obligations, self.origins = set(), {}, set(), [self.charter.origin]
        self.ours, self.carried = [Keys(self.charter.checkpoint_key, self.charter.record_key)], None

    def enrol(self, key, principal, start, expires=NEVER, is_spare=False, is_vetoed=False):
        found = self.keys[key.id] = SimpleNamespace(principal=principal, start=start, expires=expires, until=NEVER)
        found.is_spare, found.is_vetoed = is_spare, is_vetoed

    def our_ids(self): return {key.id for keys in self.ours for key in keys}
    def version(self): return sum(start <= self.now for start, _ in self.policies)
    def policy(self): return self.policies[self.version() - 1][1]

    def holds(self, principal, *roles):
        held = [each for start, each in self.roles.get(principal, []) if start <= self.now]
        return bool(held and held[-1] & set(roles))

    def fault(self, keyid):  # why a key is not valid now, or None
        key, is_ended = self.keys[keyid], self.keys[keyid].is_vetoed or self.keys[keyid].until <= self.now
        if self.now < key.start and not key.is_vetoed: return "key_not_yet_valid"
        is_over = key.expires <= self.now
        return "key_revoked" if is_ended else "key_expired" if is_over else "key_spare" if key.is_spare else None

    def still(self, persons, role):
        return {who: key for who, key in persons.items() if self.holds(who, role) and not self.fault(key)}

Approval = namedtuple("Approval", "signer key policy digest")
# What a record causes: the entry's lines, its disbursement, the digests before the cause's, its day, what it reverses.
Entry = namedtuple("Entry", "lines about authority effective reverses", defaults=(None, [], None, None))

def get(known, name, code):
    demand(name in known, code, str(name))
    return known[name]
def is_sorted(values): return values == sorted(set(values))

# --- the rules: guards in the order of docs/errors.md, then what changes, then the entry ---
def check_frame(s, r):
    p, key, policy = r.says, s.keys.get(r.keyid), s.policy()
    guard(p.ledger == s.ledger, "wrong_ledger", key, "key_unknown")
    demand(key.principal == p.signer, "key_not_signers")
    until, digest = s.ids.get((p.signer, p.id), (s.now - 1, None))
    demand(until < s.now, "repeated" if digest == r.digest else "instruction_id_reused")
    fault, roles = s.fault(r.keyid), [role for role, kinds in ROLES.items() if r.kind in kinds.split()]
    demand(not fault or (fault, r.kind) == ("key_spare", "activation"), fault)
    demand(p.issued_at <= p.not_after <= p.issued_at + 30 * 86400, "not_after_invalid")
    guard(s.now <= p.not_after, "expired", p.issued_at <= s.now + policy.skew_s, "issued_in_future")
    root, begun = s.groups.get(p.basis.size, (None, 0))
    demand(root == p.basis.root and (r.kind != "acceptance" or p.basis.size == 1), "basis_unknown")
    demand(s.now - begun <= policy.basis_age_s, "basis_too_old")
    demand(r.kind == "acceptance" or s.accepted == s.custodians, "founding_incomplete")
    demand(not roles or s.holds(p.signer, *roles), "role_missing")

def check_founding(charter, record):
    signers = [each.key.id for each in charter.custodians if each.principal == record.says.signer]
    demand(record.keyid in signers, "founding_invalid", "not signed by a custodian")
    principals = [each.principal for each in charter.custodians]
    keys = [charter.record_key, charter.checkpoint_key, *(each.key for each in charter.custodians)]
    demand(is_sorted(principals) and len(keys) == len(set(keys)), "founding_invalid", "custodians, or a key twice")
    demand(charter.currencies and is_sorted(charter.currencies), "founding_invalid", "currencies")
    demand(2 <= charter.quorum <= len(principals) < 2 * charter.quorum, "founding_invalid", "quorum")
    check_policy(charter.policy, charter, "founding_invalid", {charter.record_key.id, charter.checkpoint_key.id})

def check_policy(policy, charter, code, ours):
    demand(is_sorted([(each.up_to.currency, each.up_to.minor) for each in policy.bands]), code, "bands are not sorted")
    for each in policy.bands:
        is_band = each.up_to.currency in charter.currencies and each.up_to.minor > 0
        demand(is_band and each.approvers >= max(1, each.directors), code, "a band's amount or persons")
    some = [policy.bank_report_persons, policy.receipt_persons, policy.basis_age_s, policy.expiry_max_s, policy.gap_s]
    longest = max(value for name, value in policy._asdict().items() if name.endswith("_s"))
    demand(min(some) > 0 and longest <= 3660 * 86400 and is_sorted(policy.channels), code, "a number, or channels")
    demand(not (plan := policy.publication) or 60 <= plan.every_s <= 3660 * 86400 and 2 <= plan.multiple <= 4096, code)
    if found := policy.witnessing:
        names, keys, says = ([getattr(each, of) for each in found.witnesses] for of in ("name", "key", "statement"))
        is_good = is_sorted(names) and len({each.id for each in keys} - ours) == len(names)
        demand(is_good and len(keys) >= found.threshold > 0 and found.replays <= says.count("replayed"), code, "witnesses")

def acceptance(s, r, b):
    demand(r.says.signer not in s.accepted, "already_accepted")
    s.accepted.add(r.says.signer)

def check_reopening(s, act, count):  # by so many custodians, all at the beginning of the group after what is left
    left = s.size == act.continued.size + count and s.groups.get(act.continued.size, (None,))[0]
    demand(left == act.continued.root and act.origin not in s.origins, "act_invalid", "not alone, or an old origin")
    demand(s.carried == (act.keys and act.keys.record_key), "act_invalid", "the group carries another key")
    demanded = act.keys and s.policy().witnessing
    if act.keys:
        watching = [each.witnessing.witnesses for _, each in s.policies[s.version() - 1 :] if each.witnessing]
        taken = {*s.our_ids(), *s.keys, *(each.key.id for witnesses in watching for each in witnesses)}
        new = {key.id for key, now in zip(act.keys, s.ours[-1]) if key != now}
        demand(new and not new & taken and len({*act.keys}) == 2, "act_invalid", "the keys")
    try:
        origin, size, root = signed_head(act.checkpoint, s.ours[-1].checkpoint_key)
        demand(not demanded or is_cosigned(act.checkpoint, demanded), "act_invalid", "not cosigned")
    except Flaw as flaw:
        raise Flaw("act_invalid", str(flaw)) from None
    is_known = act.continued.size < size <= MAX_INTEGER or s.groups.get(size, (None,))[0] == root.hex()
    demand(origin == s.origins[-1] and is_known, "act_invalid", "it cites another log's head")

def activation(s, r, b):
    old, own = b.replaces and get(s.keys, b.replaces, "key_unknown"), s.keys[r.keyid]
    guard(own.is_spare, "key_not_spare", old or b.since is None, "act_invalid", old is not own, "act_invalid")
    own.is_spare = False
    if old:
        check_end(s, old, b.since)
        demand(old.principal == own.principal, "act_invalid", "of another principal")
        old.until = s.now

def check_end(s, key, since):
    demand(not key.is_vetoed and key.until == NEVER and (since or 0) <= s.size, "act_invalid", "revoked, or not yet")

def new_keys(act):  # what the possessions of new keys say, how many are no spares, and when all expire
    daily, spares, expires = (getattr(act, name, None) for name in ("possessions", "spares", "expires"))
    demand(spares != [], "act_invalid", "no spares")
    says = [possession(each) for each in (daily or []) + (spares or [])]
    return says, len(daily or []), NEVER if expires is None else expires

def check_act(s, name, act, count):  # when it is proposed, and again when it is decided
    if name == "policy":
        check_policy(act.policy, s.charter, "act_invalid", s.our_ids())
        demand(s.policies[-1][0] <= s.now, "act_pending")
    elif name == "reopen":
        check_reopening(s, act, count)
    elif name == "revoke":
        check_end(s, get(s.keys, act.key, "key_unknown"), act.since)
    else:
        demand(is_sorted(act.roles) and ("agency" not in act.roles or len(act.roles) == 1), "act_invalid", "roles")
        says, daily, expires = new_keys(act)
        keys, is_known = {each.key.id for each in says}, daily or act.principal in s.roles
        demand(s.now + s.policy().quorum_delay_s < expires, "act_invalid", "expired")
        demand(is_known and len(keys) == len(says), "act_invalid", "no such principal, or a key twice")
        demand({each[1:] for each in says} <= {(s.ledger, act.principal)}, "possession_invalid", "for another")
        demand(not {*s.our_ids(), *s.keys} & keys, "key_enrolled")
        demand(("custodian" in act.roles) == (act.principal in s.custodians), "custodians_fixed")
        demand(all(start <= s.now for start, _ in s.roles.get(act.principal, [])), "act_pending")

def perform_act(s, name, act, start):  # puts it into effect at a time, or undoes it if there is none
    if name == "policy":
        s.policies = s.policies[:-1] if start is None else s.policies + [(start, act.policy)]
    elif name == "reopen":
        s.origins.append(act.origin)
        s.ours.append(Keys(*(act.keys or s.ours[-1])))
    elif name == "revoke":
        s.keys[act.key].until = NEVER if start is None else start
    else:
        earlier = s.roles.get(act.principal, [])
        s.roles[act.principal] = earlier[:-1] if start is None else earlier + [(start, set(act.roles))]
        says, daily, expires = new_keys(act)
        for index, (key, *_) in enumerate(says):
            s.enrol(key, act.principal, start or 0, expires, index >= daily, start is None)

def proposal(s, r, b):
    check_act(s, *b.act, 1)
    s.proposals[r.digest] = SimpleNamespace(act=b.act, counted={r.says.signer: r.keyid}, not_after=r.says.not_after)
    s.proposals[r.digest].effective, s.proposals[r.digest].is_vetoed = None, False

def concurrence(s, r, b):
    found = get(s.proposals, b.proposal, "proposal_unknown")
    demand(found.effective is None and not found.is_vetoed and s.now <= found.not_after, "proposal_closed")
    found.counted = s.still(found.counted, "custodian")
    demand(r.says.signer not in found.counted, "already_concurred")
    found.counted[r.says.signer] = r.keyid
    if len(found.counted) >= s.charter.quorum:
        check_act(s, *found.act, len(found.counted))
        found.effective = s.now + (found.act[0] != "reopen") * s.policy().quorum_delay_s
        perform_act(s, *found.act, found.effective)

def veto(s, r, b):
    found = get(s.proposals, b.proposal, "proposal_unknown")
    demand(not found.is_vetoed and (found.effective is None or s.now < found.effective), "proposal_closed")
    found.is_vetoed = True
    if found.effective is not None: perform_act(s, *found.act, None)

def asset_registration(s, r, b):
    demand(b.asset not in s.assets, "asset_exists")
    s.assets.add(b.asset)

def fund_opening(s, r, b):
    demand(b.asset in s.assets, "asset_unknown")
    taken = {(each.asset, each.kind) for each in s.funds.values() if each.kind == "fiduciary"}
    demand(b.fund not in s.funds and (b.asset, b.kind) not in taken, "fund_exists")
    demand(b.currency in s.charter.currencies, "currency_mismatch")
    s.funds[b.fund] = b

def bank_opening(s, r, b):
    guard(b.bank not in s.banks, "bank_exists", b.currency in s.charter.currencies, "currency_mismatch")
    s.banks[b.bank] = b.currency

def offer(s, r, b):
    amounts = [each.kind[1][0] for each in b.benefits]
    demand(all(each.currency in s.charter.currencies for each in amounts), "currency_mismatch")
    demand(all(each.minor > 0 for each in amounts), "amount_not_positive")
    demand(b.benefits and is_sorted([each.benefit for each in b.benefits]), "offer_invalid", "benefits are not sorted")
    demand(b.version == 1 + sum(name == b.offer for name, _ in s.offers), "offer_invalid", "version")
    s.offers[b.offer, b.version] = b

def case_opening(s, r, b):
    offered = get(s.offers, b.offer, "offer_unknown")
    demand(b.case not in s.cases and b.agency_ref not in s.agency_refs, "case_exists")
    guard(s.holds(b.agency, "agency"), "agency_unknown", b.entered >= offered.valid_from, "case_not_eligible")
    s.cases[b.case] = SimpleNamespace(offer=b.offer, outcome=None)
    s.agency_refs.add(b.agency_ref)

def screening(s, r, b):
    case = get(s.cases, b.case, "case_unknown")
    demand(case.outcome is None, "screening_closed")
    case.outcome = b.outcome

# --- facts: the lines of each ---
def fund_of(s, b, name, kind, banks=(), positive=(), others=()):
    """A fund of this kind, in whose currency the banks and amounts are; the first of those are above zero."""
    fund = get(s.funds, name, "fund_unknown")
    demand(fund.kind == kind, "fund_wrong_kind", name)
    of_banks, is_some = [get(s.banks, bank, "bank_unknown") for bank in banks], all(each.minor > 0 for each in positive)
    are_same = {*of_banks, *(each.currency for each in (*positive, *others))} <= {fund.currency}
    guard(are_same, "currency_mismatch", is_some, "amount_not_positive")
    check_day(s, getattr(b, "value_date", ""))
    return fund

def asset_of(s, b, spendable, fiduciary, banks, positive, others=()):
    of, to = fund_of(s, b, fiduciary, "fiduciary"), fund_of(s, b, spendable, "spendable")
    guard(of.asset == to.asset, "fund_wrong_kind", of.currency == to.currency, "currency_mismatch")
    return fund_of(s, b, spendable, "spendable", banks, positive, others).asset

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
    fund = fund_of(s, b, b.fund, "fiduciary", [], [b.amount])
    return move(b.fund, f"8100/{fund.asset}", "8900", b.amount.minor)

def custody_interest(s, b):
    fund = fund_of(s, b, b.fund, "fiduciary", [b.bank], [b.amount])
    return move(b.fund, f"1150/{b.bank}", f"2300/{fund.asset}", b.amount.minor)

def custody(s, b):
    lines, memo = custody_interest(s, b), f"8100/{s.funds[b.fund].asset}"
    return lines + move(b.fund, "8900", memo, min(b.amount.minor, s.books.amount(b.fund, memo)))

def forfeiture(s, b):
    parts = [each.amount for each in b.costs + b.claims]
    asset = asset_of(s, b, b.to_fund, b.fund, [b.bank, b.to_bank], [b.gross, *parts])
    net = b.gross.minor - sum(each.minor for each in parts)
    guard(len(parts) <= 100, "too_many_shares", net >= 0, "amounts_do_not_add_up")
    lines = [dr(b.fund, f"2300/{asset}", b.gross.minor)]
    lines += [cr(b.fund, f"2100/cost/{each.body}", each.amount.minor) for each in b.costs]
    lines += [cr(b.fund, f"2100/claimant/{each.body}", each.amount.minor) for each in b.claims]
    lines += [cr(b.fund, f"1150/{b.bank}", net)] + receipt(s, b.to_fund, b.to_bank, net)
    return lines + [cr(b.to_fund, "4101", net)] + move(b.to_fund, "7100", M, net)

def claim_payment(s, b):
    fund_of(s, b, b.fund, "fiduciary", [b.bank], [b.amount])
    return move(b.fund, f"2100/{b.kind}/{b.body}", f"1150/{b.bank}", b.amount.minor)

def windfall_income(s, b):
    own, parts = b.own.minor, [each.amount for each in b.shares]
    asset = asset_of(s, b, b.fund, b.shares_fund, [b.bank], [b.own, *parts], [b.retained])
    demand(len(parts) <= 100, "too_many_shares")
    lines = receipt(s, b.fund, b.bank, own) + [cr(b.fund, "4102", own)] + move(b.fund, "7100", M, own)
    for each in b.shares:
        lines += move(b.shares_fund, f"1150/{b.bank}", f"2100/other-body/{each.body}", each.amount.minor)
    return lines + move(b.shares_fund, f"8200/{asset}", "8900", b.retained.minor)

def bank_fee(s, b):
    fund_of(s, b, b.fund, "spendable", [b.bank], [b.amount])
    fee = b.amount.minor
    return [dr(b.fund, "5102", fee)] + payment(s, b.fund, b.bank, fee) + use(s, b.fund, "7500", fee)

RECEIPTS = (restraint, custody, custody_interest, forfeiture, claim_payment, windfall_income, bank_fee)
RECEIPTS = {lines.__name__.replace("_", "-"): lines for lines in RECEIPTS}
OF_BANK = {"bank-confirmation": "released paid", "bank-rejection": "released due", "bank-return": "paid due"}

def bank_lines(s, kind, b, persons):  # the disbursement with which the bank did something, as these say, and the lines
    check_day(s, getattr(b, "value_date", ""))
    d = get(s.disbursements, b.disbursement, "disbursement_unknown")
    demand(d.stage == OF_BANK[kind].split()[0], "wrong_stage", d.stage)
    demand(not {d.payer, *(each.signer for each in d.approvals)} & persons.keys(), "same_person")
    fund, due, outstanding, cash = d.body.fund, d.due, f"2200/bank/{d.bank}", f"1100/{d.bank}"
    if kind == "bank-confirmation":
        lines = move(fund, outstanding, cash, due) + [post_hold(fund, cash, due, d.hold)]
        return d, lines + move(fund, "7400", "7500", due)
    if kind == "bank-rejection":
        return d, move(fund, outstanding, d.payable, due) + [void_hold(fund, cash, due, d.hold)]
    kept, is_same = b.kept.minor, b.kept.currency == d.body.amount.currency
    guard(is_same, "currency_mismatch", kept <= due, "amounts_do_not_add_up")
    lines = receipt(s, fund, d.bank, due - kept) + [dr(fund, "5102", kept), cr(fund, d.payable, due)]
    return d, lines + move(fund, "7500", "7400", due) + use(s, fund, "7500", kept)

def countersignature(s, r, b):
    waiting, persons = get(s.reports, b.report, "report_unknown")
    demand(s.now <= waiting.says.not_after, "report_unknown")
    persons = s.still(persons, "reconciler")
    demand(r.says.signer not in persons, "already_signed")
    return gather(s, r, waiting, persons | {r.says.signer: r.keyid})

def gather(s, r, reported, persons):  # the entry of a report, if these persons are enough; until then it waits
    kind, b, policy = reported.kind, reported.says.body, s.policy()
    d, lines = bank_lines(s, kind, b, persons) if kind in OF_BANK else (None, RECEIPTS[kind](s, b))
    is_of_bank, s.reports[reported.digest] = kind in OF_BANK or kind == "bank-fee", (reported, persons)
    if len(persons) < (policy.bank_report_persons if is_of_bank else policy.receipt_persons): return None
    del s.reports[reported.digest]
    lines = [each for each in lines if each.minor]
    if d:
        step(d, OF_BANK[kind].split()[1], r, lines)
        d.came_back = d.came_back or d.stage == "due"
    else:
        s.facts[reported.digest] = SimpleNamespace(entry=r.digest + "-0", lines=lines, is_reversed=False)
    return Entry(lines, d, [reported.digest] if reported is not r else [], getattr(b, "value_date", None))

# --- disbursements ---
def is_over(s, d, grace=0):
    can_lapse = d.stage in ("requested", "obligated") or d.stage == "due" and not d.came_back
    return can_lapse and s.now > d.body.expires + grace

def find(s, b, stages, request=None):
    d = get(s.disbursements, b.disbursement, "disbursement_unknown")
    guard(not is_over(s, d), "disbursement_expired", request in (None, d.request), "request_differs")
    demand(d.stage in stages.split(), "wrong_stage", d.stage)
    return d

def step(d, stage, r=None, lines=None):  # with the record and lines of a step that can be reversed
    d.last, d.stage = r and SimpleNamespace(entry=r.digest + "-0", lines=lines, before=d.stage), stage

def band_of(s, money):
    bands = [each for each in s.policy().bands if each.up_to.currency == money.currency and each.up_to >= money]
    demand(bands, "no_band")
    return bands[0]

def request(s, r, b):
    fund_of(s, b, b.fund, "spendable", [], [b.amount])
    offered, case = get(s.offers, b.offer, "offer_unknown"), get(s.cases, b.case, "case_unknown")
    guard(case.offer == b.offer, "offer_unknown", b.disbursement not in s.disbursements, "disbursement_exists")
    guard(case.outcome is not None, "screening_open", case.outcome == "cleared", "screening_refused")
    kind, (most,) = get({each.benefit: each.kind for each in offered.benefits}, b.benefit, "benefit_unknown")
    guard(b.occurrence == 1, "benefit_unknown", b.amount.currency == most.currency, "currency_mismatch")
    demand(b.amount == most or kind != "cash" and b.amount < most, "amount_not_offered")
    demand(b.channel[0] in s.policy().channels, "channel_not_allowed")
    band_of(s, b.amount)
    demand(s.now < b.expires <= s.now + s.policy().expiry_max_s, "expiry_invalid")
    d = SimpleNamespace(body=b, request=r.digest, preparer=r.says.signer, is_cash=kind == "cash", stage="requested")
    d.obligation = (b.case, b.benefit, b.occurrence)
    guard(d.obligation not in s.obligations, "obligation_exists", not s.books.amount(b.fund, "7900"), "fund_blocked")
    d.commitment = hmac.digest(bytes.fromhex(b.salt), b.case.encode(), "sha256").hex()
    d.hold, d.holds, d.approvals, d.payer, d.came_back, d.last = f"{b.disbursement}.1", 1, [], None, False, None
    s.disbursements[b.disbursement] = d
    s.obligations.add(d.obligation)
    return Entry([hold_on(b.fund, M, b.amount.minor, d.hold)], d)

def counting(s, d):  # the approvals whose keys are valid, and whose signers may approve, now
    return [each for each in d.approvals if not s.fault(each.key) and s.holds(each.signer, "approver", "director")]

def are_enough(s, approvals, band):
    return len(approvals) >= band.approvers and sum(s.holds(a.signer, "director") for a in approvals) >= band.directors

def approval(s, r, b):
    d, e, signer = find(s, b.effect, "requested"), b.effect, r.says.signer
    fund, minor = d.body.fund, d.body.amount.minor
    terms = {name: getattr(d.body, name) for name in "amount benefit channel disbursement expires fund offer".split()}
    demand(e == e._replace(**terms, most=d.body.amount, preparer=d.preparer, request=d.request), "effect_differs")
    guard(e.policy == s.version(), "policy_changed", signer != d.preparer, "own_request")
    earlier = [each for each in counting(s, d) if each.policy == s.version()]
    demand(all(each.signer != signer for each in earlier), "already_approved")
    d.approvals = earlier + [Approval(signer, r.keyid, s.version(), r.digest)]
    if not are_enough(s, d.approvals, band_of(s, d.body.amount)): return None
    lines = [post_hold(fund, M, minor, d.hold)] + move(fund, M, "7400" if d.is_cash else "7300", minor)
    if d.is_cash:
        d.payable, d.due = f"2100/disbursement/{d.body.disbursement}", minor
        lines = move(fund, "5101", d.payable, minor) + lines
    step(d, "due" if d.is_cash else "obligated")
    return Entry(lines, d, [d.request] + [each.digest for each in earlier])

def end(s, d, stage):
    fund, minor = d.body.fund, d.body.amount.minor
    if d.stage == "requested":
        lines = [void_hold(fund, M, minor, d.hold)]
    elif d.stage == "obligated":
        lines = move(fund, "7300", M, minor)
    else:
        lines = move(fund, d.payable, "5101", d.due) + move(fund, "7400", M, d.due)
    s.obligations.remove(d.obligation)
    step(d, stage)
    return Entry(lines, d, [d.request])

def lapse(s, p):
    d = get(s.disbursements, p.disbursement, "lapse_not_due")
    demand(is_over(s, d) and p[1:] == (d.body.expires, s.ledger, d.request), "lapse_not_due")
    return end(s, d, "lapsed")

def pad(s, p):  # ends its group, and changes nothing
    demand(s.owed and p == (s.ledger, s.size, s.owed[1]), "pad_unexpected")
    s.is_open, s.owed = False, s.owed if (s.size + 1) % s.owed[0] else None

def delivery(s, r, b):
    demand(b.invoiced.minor > 0, "amount_not_positive")
    check_day(s, b.delivered)
    d = find(s, b, "obligated")
    fund, invoiced, unused = d.body.fund, b.invoiced.minor, d.body.amount.minor - b.invoiced.minor
    guard(b.invoiced.currency == d.body.amount.currency, "currency_mismatch", unused >= 0, "invoice_too_high")
    d.payable, d.due = f"2100/vendor/{b.vendor}", invoiced
    lines = move(fund, "5101", d.payable, invoiced) + move(fund, "7300", "7400", invoiced)
    lines += move(fund, "7300", M, unused) if unused else []
    step(d, "due", r, lines)
    return Entry(lines, d, [d.request], b.delivered)

def release(s, r, b):
    currency, d = get(s.banks, b.bank, "bank_unknown"), find(s, b, "due", b.request)
    demand(currency == d.body.amount.currency, "currency_mismatch")
    band = band_of(s, d.body.amount)
    demand(r.says.signer not in {d.preparer, *(each.signer for each in d.approvals)}, "same_person")
    overdrawn = s.books.amount(d.body.fund, f"2600/{b.bank}")
    guard(are_enough(s, counting(s, d), band), "approvals_void", not overdrawn, "bank_overdrawn")
    d.bank, d.payer, d.holds, d.hold = b.bank, r.says.signer, d.holds + 1, f"{b.disbursement}.{d.holds + 1}"
    lines = move(d.body.fund, d.payable, f"2200/bank/{d.bank}", d.due)
    lines += [hold_on(d.body.fund, f"1100/{d.bank}", d.due, d.hold)]
    step(d, "released", r, lines)
    return Entry(lines, d, [d.request] + [each.digest for each in d.approvals])

REVERSED = {"debit": "credit", "credit": "debit", "hold": "void-hold", "post-hold": "hold", "void-hold": "hold"}

def reversed_line(each):
    hold = each.hold + ".r" if each.action in ("post-hold", "void-hold") else each.hold
    return each._replace(action=REVERSED[each.action], hold=hold)

def reversal(s, r, b):
    name, subject = b.subject
    if name == "fact":
        fact = get(s.facts, subject, "nothing_to_reverse")
        demand(fact.entry == b.entry and not fact.is_reversed, "nothing_to_reverse")
        fact.is_reversed = True
        return Entry([reversed_line(each) for each in fact.lines], reverses=b.entry)
    d = get(s.disbursements, subject, "disbursement_unknown")
    demand(d.last and d.last.entry == b.entry, "nothing_to_reverse")
    lines = [reversed_line(each) for each in d.last.lines]
    d.hold = next((each.hold for each in lines if each.action == "hold"), d.hold)
    d.came_back = d.came_back or d.stage == "released"
    step(d, d.last.before)
    return Entry(lines, d, reverses=b.entry)

ROLES = {
    "auditor": "veto", "approver": "approval rejection", "custodian": "acceptance proposal concurrence veto",
    "director": "asset-registration fund-opening bank-opening offer approval rejection cancellation reversal",
    "payer": "release", "preparer": "case-opening request cancellation delivery", "screener": "screening",
    "reconciler": " ".join(["countersignature", *RECEIPTS, *OF_BANK])}
BY_NAME = (acceptance, activation, proposal, concurrence, veto, asset_registration, fund_opening, bank_opening, offer,
           case_opening, screening, request, approval, delivery, release, reversal, countersignature)
RULES = {rule.__name__.replace("_", "-"): rule for rule in BY_NAME}
RULES |= dict.fromkeys([*RECEIPTS, *OF_BANK], lambda s, r, b: gather(s, r, r, {r.says.signer: r.keyid}))
FRAME = "basis:basis body:{} id:uuid issued_at:time key:digest ledger:digest not_after:time signer:id"
RULES["rejection"] = lambda s, r, b: end(s, find(s, b, "requested", b.request), "rejected")
RULES["cancellation"] = lambda s, r, b: end(s, find(s, b, "requested obligated due", b.request), "cancelled")
FRAMES = {kind: struct(FRAME.format(kind)) for kind in RULES}

def entry_payload(s, cause, entry):  # the bytes of the entry that the record with this digest causes
    value = {"authority": [*entry.authority, cause], "effective": entry.effective or day_of(s.now), "id": cause + "-0"}
    value |= {"ledger": s.ledger, "lines": []} | ({"reverses": entry.reverses} if entry.reverses else {})
    if entry.about:
        q = entry.about.body
        value |= {"benefit": q.benefit, "case_commitment": entry.about.commitment, "disbursement": q.disbursement}
    for action, fund, name, minor, hold in entry.lines:
        currency, units = s.funds[fund].currency, MINOR_UNITS[s.funds[fund].currency]
        shown = f"{minor // 10**units}.{minor % 10**units:0{units}}" if units else str(minor)
        written = {"account": name, "action": action, "amount": shown, "currency": currency}
        value["lines"].append(written | {"fund": fund} | ({"hold": hold} if hold else {}))
    return encode(value)

# --- replay ---
class Replay:  # the log so far: each record is taken at the next position, or refuted there
    def __init__(self, ledger):
        self.ledger, self.size, self.peaks, self.state, self.carried, self.expected = ledger, 0, [], None, {}, None
        self.act = None  # in a group that carries a key: the proposal, or "" before it, until the quorum is there

    def opened(self, leaf):
        record = parse_record(leaf)
        keys = [getattr(record.says, "record_key", None)]  # a group's
        if self.state is None and record.kind == "founding":
            charter = record.says.body
            keys = [charter.record_key, charter.checkpoint_key, *(each.key for each in charter.custodians)]
        self.carried |= {key.id: key.raw for key in keys if key}
        key = get(self.carried, record.keyid, "key_unknown")
        demand(is_signature(key, record.message, record.signature), "bad_signature")
        return record

    def take(self, record):
        if self.state is None:
            demand(record.kind == "founding" and record.digest == self.ledger, "other_ledger")
            check_founding(record.says.body, record)
            self.state = State(record)
        elif self.expected is not None:
            demand(record.kind == "entry", "entry_missing")
            demand(record.keyid == self.state.ours[-1].record_key.id, "not_the_ledgers_key")
            demand(record.payload == self.expected, "entry_altered", f"it should be {self.expected.decode()}")
            self.expected = None
        else:
            self.follow(record)
        self.size, self.peaks = self.size + 1, grown(self.peaks, record.leaf)

    def follow(self, record):
        s, says, self.state.size = self.state, record.says, self.size
        if self.act is not None:
            act = says.body.act[1] if record.kind == "proposal" else None
            is_it = self.act == "" and (given := getattr(act, "keys", None)) and given.record_key == s.carried
            demand(is_it or record.kind == "concurrence" and says.body.proposal == self.act, "rekey_incomplete")
            self.act = self.act or record.digest
        guard(s.is_open or record.kind in ("group", "pad"), "outside_group", record.kind != "founding", "ledger_founded")
        demand(record.kind != "entry", "entry_unexpected")
        if record.kind in RULES:
            check_frame(s, record)
            entry = RULES[record.kind](s, record, says.body)
            s.ids[says.signer, says.id] = (says.not_after, record.digest)
            self.act = None if self.act and s.proposals[self.act].effective is not None else self.act
            if record.kind == "proposal" and says.body.act[0] == "enrol":
                self.carried |= {each.key.id: each.key.raw for each in new_keys(says.body.act[1])[0]}
        else:
            key = getattr(says, "record_key", None) or s.ours[-1].record_key
            demand(record.keyid == key.id, "not_the_ledgers_key")
            entry = {"group": self.begin_group, "lapse": lapse, "pad": pad}[record.kind](s, says)
        if entry:
            s.books.take(entry.lines, s.funds)
            self.expected = entry_payload(s, record.digest, entry)

    def begin_group(self, s, group):
        self.end_group(s)
        guard(group.first == self.size, "group_position", group.ledger == self.ledger, "group_ledger")
        guard(group.root == root_of(self.peaks).hex(), "group_root", group.recorded_at >= s.now, "group_time")
        demand(group.rules == 1, "group_rules")
        last, s.now, s.is_open, s.carried = s.now, group.recorded_at, True, group.record_key
        s.groups[group.first], self.act = (group.root, s.now), "" if s.carried else None
        if (plan := s.policy().publication) and last // plan.every_s < s.now // plan.every_s < END // plan.every_s:
            s.owed = plan.multiple, (s.now // plan.every_s + 1) * plan.every_s

    def end_group(self, s):
        guard(self.expected is None, "cut_off", self.act is None, "rekey_incomplete", s.owed is None, "pad_missing")
        for name, d in s.disbursements.items():
            demand(not is_over(s, d, s.policy().lapse_grace_s), "lapse_missing", name)

# --- the bundle ---
def claim(value):
    meant = FORMS["balance"](value)
    amounts = [amount(each, meant.currency, "-?").minor for each in (meant.amount, meant.held)]
    return (meant.fund, meant.account, meant.currency), Balance(*amounts)

def read_line(stream, limit, missing):
    data = stream.readline(limit + 1)
    guard(data, missing, data.endswith(b"\n"), "line_too_long" if len(data) > limit else "line_unterminated")
    return data[:-1]

def compare(claimed, s, place):
    actual = {(fund, name, s.funds[fund].currency): each for (fund, name), each in s.books.balances.items()}
    for place["line"], (key, balance) in enumerate(claimed.items(), 2):
        demand(balance == actual.get(key, Balance()), "balance_differs", f"{key} has {actual.get(key)}")
    place["line"] = 1
    for key, balance in actual.items():
        demand(key in claimed or balance == Balance(), "balance_missing", str(key))

def audit(stream, ledger, place):
    """Verifies a bundle, or raises the first flaw, which is at `place`: the file's line, the log's position."""
    place["line"] = 1
    header = parse(read_line(stream, 132072, "header_missing"), FORMS["header"], "header_malformed", "header_malformed")
    guard(header.ledger == ledger, "other_ledger", header.balances_at <= header.records, "balances_at_beyond")
    demand(header.balances_at > 0, "balances_at_within_group")
    claimed, replay = {}, Replay(ledger)
    for place["line"] in range(2, header.balances + 2):
        key, balance = parse(read_line(stream, 66000, "balances_missing"), claim, *["balance_malformed"] * 2)
        demand(not claimed or key > next(reversed(claimed)), "balance_order")
        claimed[key] = balance
    for position in range(header.records):
        place |= (here := {"line": header.balances + 2 + position, "position": position})
        record = replay.opened(read_line(stream, 66000, "records_missing"))
        if position == header.balances_at:
            place |= {"line": 1, "position": None}
            demand(record.kind == "group", "balances_at_within_group")
            compare(claimed, replay.state, place)
        place |= here
        replay.take(record)
        if position == 0:
            place |= {"line": 1, "position": None}
            origin, size, root = head_of(header.checkpoint)[0]
            if origin == replay.state.charter.origin:
                signed_head(header.checkpoint, replay.state.charter.checkpoint_key)
            demand(size == header.records, "checkpoint_size")
    place |= {"line": None, "position": header.records}
    replay.end_group(replay.state)
    place |= {"line": 1, "position": None}
    demand(origin == replay.state.origins[-1], "checkpoint_origin")
    signed_head(header.checkpoint, replay.state.ours[-1].checkpoint_key)
    demand(root_of(replay.peaks) == root, "checkpoint_root")
    if header.balances_at == header.records:
        compare(claimed, replay.state, place)
    place["line"] = header.balances + header.records + 2
    demand(not stream.read(1), "trailing_data")

def verdict(path, ledger):
    place = {}
    try:
        with open(path, "rb") as stream:
            audit(stream, ledger, place)
        return {"outcome": "verified"}
    except OSError as error:
        return {"outcome": "failed", "reason": str(error)}
    except Flaw as flaw:
        place = {name: str(value) for name, value in place.items() if value is not None}
        return {"outcome": "refuted"} | place | {"code": flaw.args[0], "reason": flaw.args[1]}

def main():
    parser = argparse.ArgumentParser(description="Verifies audit bundles offline, from the specification alone.")
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE")
    parser.add_argument("--ledger", required=True, metavar="ID", type=pattern("[0-9a-f]{64}"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = [verdict(path, arguments.ledger) for path in arguments.bundles]
    for each in found:
        words = [f"{name} {said}" for name, said in each.items() if said and name != "outcome"]
        print(json.dumps({"verdict": each}) if arguments.json else ", ".join([each["outcome"].upper(), *words]))
    return max(["verified", "refuted", "failed"].index(each["outcome"]) for each in found)

if __name__ == "__main__": sys.exit(main())
