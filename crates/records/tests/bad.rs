//! Payload bytes that are refused, and with which code. Each is a good payload with one thing changed.

use records::{Kind, Record};
use signing::dsse::Envelope;

use crate::golden::golden;
use crate::samples::Draw;

/// Kind, code, what is replaced in the plain payload of the kind, and by what. `^` and `$` are its ends.
const BAD: &str = r##"
# Spellings of the JSON itself.
fund-opening | payload_not_canonical | ^                       |  
fund-opening | payload_not_canonical | $                       | \x20
fund-opening | payload_not_canonical | $                       | \x0a
fund-opening | payload_invalid       | $                       | {}
fund-opening | payload_invalid       | $                       | x
fund-opening | payload_invalid       | ^                       | \ufeff
fund-opening | payload_not_canonical | "asset":                | "asset" :
fund-opening | payload_not_canonical | "asset":"a1","currency":"USD" | "currency":"USD","asset":"a1"
fund-opening | payload_not_canonical | "asset":"a1"            | "asset":"\u00611"
fund-opening | payload_not_canonical | "asset":"a1"            | "\u0061sset":"a1"
veto         | payload_not_canonical | the key                 | the\u0020key
veto         | payload_not_canonical | the key                 | the\/key
veto         | payload_invalid       | the key                 | the\ud800key
veto         | payload_invalid       | the key                 | the\udc00\ud800key
veto         | payload_invalid       | the key                 | the\xkey
veto         | payload_invalid       | the key                 | the\x0akey
# Members.
fund-opening | payload_invalid       | "asset":"a1"            | "asset":"a1","asset":"a1"
fund-opening | payload_invalid       | "signer":"prep1"        | "signer":"prep1","signer":"prep1"
fund-opening | payload_invalid       | "asset":"a1"            | "asset":"a1","bank":"b1"
fund-opening | payload_invalid       | "signer":"prep1"        | "signer":"prep1","zone":"1"
fund-opening | payload_invalid       | "asset":"a1",           | 
fund-opening | payload_invalid       | ,"signer":"prep1"       | 
fund-opening | payload_invalid       | "kind":"spendable"      | "kind":{"spendable":{}}
fund-opening | payload_invalid       | "kind":"spendable"      | "kind":"Spendable"
request      | payload_invalid       | {"manual":{}}           | "manual"
request      | payload_invalid       | {"manual":{}}           | {"manual":{"x":"1"}}
request      | payload_not_canonical | {"manual":{}}           | {"manual":[]}
request      | payload_invalid       | {"manual":{}}           | {"manual":{},"manual":{}}
request      | payload_invalid       | {"manual":{}}           | {"wire":{}}
acceptance   | payload_not_canonical | "body":{}               | "body":[]
acceptance   | payload_invalid       | "body":{}               | "body":{"x":"1"}
reversal     | payload_invalid       | {"disbursement":"d-1"}  | {"disbursement":"d-1","fact":"d-1"}
offer        | payload_invalid       | {"cash":                | {"cheque":
entry        | payload_not_canonical | ,"disbursement":"d-1"   | ,"disbursement":null
# No numbers and no null.
bank-fee     | payload_not_canonical | "35.00"                 | 35.00
bank-fee     | payload_not_canonical | "35.00"                 | 35
bank-fee     | payload_not_canonical | "35.00"                 | 3.5e1
bank-fee     | payload_not_canonical | "35.00"                 | null
bank-fee     | payload_invalid       | "35.00"                 | true
bank-fee     | payload_invalid       | "35.00"                 | ["35.00"]
request      | payload_not_canonical | "occurrence":"1"        | "occurrence":1
request      | payload_not_canonical | "occurrence":"1"        | "occurrence":-0
# Nesting.
acceptance   | payload_not_canonical | "body":{}               | "body":[[[[[[[[[]]]]]]]]]
acceptance   | payload_invalid       | "body":{}               | "body":[[[[[[[]]]]]]]
# Amounts.
bank-fee     | payload_invalid       | "35.00"                 | "35"
bank-fee     | payload_invalid       | "35.00"                 | "35.0"
bank-fee     | payload_invalid       | "35.00"                 | "35.000"
bank-fee     | payload_invalid       | "35.00"                 | "035.00"
bank-fee     | payload_invalid       | "35.00"                 | "+35.00"
bank-fee     | payload_invalid       | "35.00"                 | "35,00"
bank-fee     | payload_invalid       | "35.00"                 | "3.5e1"
bank-fee     | payload_invalid       | "35.00"                 | " 35.00"
bank-fee     | payload_invalid       | "35.00"                 | "-0.00"
bank-fee     | payload_invalid       | "35.00"                 | ".35"
bank-fee     | payload_invalid       | "35.00"                 | "NaN"
bank-fee     | payload_invalid       | "35.00"                 | "1000000000000000.00"
bank-fee     | payload_invalid       | "35.00"                 | "99999999999999999999.00"
bank-fee     | payload_invalid       | "35.00"                 | "٣٥.٠٠"
bank-fee     | payload_invalid       | "35.00","currency":"USD"| "1.5","currency":"JPY"
bank-fee     | payload_invalid       | "35.00","currency":"USD"| "1.00","currency":"JPY"
bank-fee     | payload_invalid       | "35.00","currency":"USD"| "1.0","currency":"USD"
bank-fee     | payload_invalid       | "35.00","currency":"USD"| "1.00","currency":"KWD"
bank-fee     | payload_invalid       | "currency":"USD"        | "currency":"XXX"
bank-fee     | payload_invalid       | "currency":"USD"        | "currency":"usd"
bank-fee     | payload_invalid       | "currency":"USD"        | "currency":"XAU"
bank-fee     | payload_invalid       | ,"currency":"USD"       | 
# Times, days and integers.
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-02-01T00:00:00z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-02-01t00:00:00Z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-02-01T00:00:00+00:00
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-02-01T00:00:00.0Z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-02-01T00:00Z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-02-01 00:00:00Z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-01-31T24:00:00Z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-01-31T23:59:60Z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 2030-02-30T00:00:00Z
lapse        | payload_invalid       | 2030-02-01T00:00:00Z    | 0000-01-01T00:00:00Z
bank-fee     | payload_invalid       | "value_date":"2030-01-02" | "value_date":"2030-1-2"
bank-fee     | payload_invalid       | "value_date":"2030-01-02" | "value_date":"2030-01-02T00:00:00Z"
bank-fee     | payload_invalid       | "value_date":"2030-01-02" | "value_date":"2029-02-29"
request      | payload_invalid       | "occurrence":"1"        | "occurrence":"01"
request      | payload_invalid       | "occurrence":"1"        | "occurrence":"+1"
request      | payload_invalid       | "occurrence":"1"        | "occurrence":"-1"
request      | payload_invalid       | "occurrence":"1"        | "occurrence":"1.0"
request      | payload_invalid       | "occurrence":"1"        | "occurrence":""
request      | payload_invalid       | "occurrence":"1"        | "occurrence":"9223372036854775808"
# Ids, digests and texts.
bank-fee     | payload_invalid       | "fund":"f1"             | "fund":"F1"
bank-fee     | payload_invalid       | "fund":"f1"             | "fund":""
bank-fee     | payload_invalid       | "fund":"f1"             | "fund":"f/1"
bank-fee     | payload_invalid       | "fund":"f1"             | "fund":"f1 "
bank-fee     | payload_invalid       | "fund":"f1"             | "fund":"fé"
bank-fee     | payload_invalid       | "fund":"f1"             | "fund":"01234567890123456789012345678901234567890123456789012345678901234"
bank-fee     | payload_invalid       | 01890a5d-ac96-774b      | 01890A5D-AC96-774B
bank-fee     | payload_invalid       | 01890a5d-ac96-774b      | 01890a5dac96774b
bank-fee     | payload_invalid       | 01890a5d-ac96-774b      | 01890a5d-ac96-474b
bank-fee     | payload_invalid       | -774b-8cce-             | -774b-0cce-
bank-fee     | payload_invalid       | "sha256":"              | "sha256":"0
bank-fee     | payload_invalid       | "ledger":"              | "ledger":"0x
veto         | payload_invalid       | the key                 | the\u0000key
veto         | payload_invalid       | the key                 | the\u202ekey
veto         | payload_invalid       | the key                 | the\u2066key
veto         | payload_invalid       | the key                 | u\u0308
entry        | payload_invalid       | "account":"5101"        | "account":"51"
entry        | payload_invalid       | "account":"7400"        | "account":"7400/x"
entry        | payload_invalid       | "account":"7210/main"   | "account":"7210"
entry        | payload_invalid       | "account":"7210/main"   | "account":"7210/main/x"
entry        | payload_invalid       | "action":"debit"        | "action":"dr"
entry        | payload_invalid       | ,"hold":"d-1.1"         | 
entry        | payload_invalid       | "action":"post-hold"    | "action":"debit"
entry        | payload_invalid       | -0","ledger"            | -00","ledger"
entry        | payload_invalid       | -0","ledger"            | ","ledger"
founding     | payload_invalid       | "ed25519"               | "ed448"
founding     | payload_invalid       | "spki":"MCow            | "spki":"MCo
founding     | payload_invalid       | "spki":"MCow            | "spki":"MCox
founding     | payload_invalid       | ledger.example/1        | Ledger.example/1
proposal     | payload_invalid       | "keyid":"               | "kid":"
"##;

/// A row's cells; `\x20` and `\x0a` stand for a space and a line feed, and `\ufeff` for itself.
fn unescape(cell: &str) -> String {
    cell.replace("\\x20", " ").replace("\\x0a", "\n").replace("\\ufeff", "\u{feff}")
}

/// The payload of a row's kind, with the row's change.
fn changed(kind: Kind, find: &str, replace: &str) -> String {
    let (payload, _) = Draw::Plain.payload(kind);
    let text = String::from_utf8(payload.encode()).unwrap();
    let replace = unescape(replace);
    match find {
        "^" if replace.is_empty() => format!(" {text}"),
        "^" => format!("{replace}{text}"),
        "$" => format!("{text}{replace}"),
        find => {
            assert!(text.contains(find), "{find} is not in {text}");
            text.replacen(find, &replace, 1)
        }
    }
}

#[derive(serde::Serialize)]
struct Vector<'a> {
    code: &'a str,
    payload: &'a str,
    #[serde(rename = "payloadType")]
    payload_type: &'a str,
}

#[test]
fn bad_payloads_are_refused_with_their_code() {
    let mut vectors = String::new();
    for row in BAD.lines().filter(|row| !row.is_empty() && !row.starts_with("# ")) {
        let [name, code, find, replace] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let kind = *Kind::ALL.iter().find(|kind| kind.name() == name).unwrap();
        let payload = changed(kind, find, replace);
        let (_, key) = Draw::Plain.payload(kind);
        let refused = Record::parse(Envelope::sign(&key, kind.payload_type(), payload.clone().into_bytes()));
        let error = refused.map(|_| ()).expect_err(row);
        assert_eq!(error.code(), code, "{row}: {error}");
        let vector = Vector { code, payload: &payload, payload_type: kind.payload_type() };
        vectors += &(serde_json::to_string(&vector).unwrap() + "\n");
    }
    assert_eq!(golden("bad.ndjson", &vectors), vectors);
}

/// Bytes that are no text.
#[test]
fn payloads_are_utf_8() {
    let (payload, key) = Draw::Plain.payload(Kind::Veto);
    let mut bytes = payload.encode();
    let at = bytes.windows(7).position(|window| window == b"the key").unwrap();
    for (byte, code) in [(0xff, "payload_invalid"), (0xc3, "payload_invalid"), (0x80, "payload_invalid")] {
        bytes[at] = byte;
        let refused = Record::parse(Envelope::sign(&key, Kind::Veto.payload_type(), bytes.clone()));
        assert_eq!(refused.unwrap_err().code(), code);
    }
    let empty = Record::parse(Envelope::sign(&key, Kind::Veto.payload_type(), vec![]));
    assert_eq!(empty.unwrap_err().code(), "payload_invalid");
}

#[test]
fn payload_types_are_a_closed_list() {
    let (payload, key) = Draw::Plain.payload(Kind::Veto);
    for unknown in [
        "application/vnd.safeconduct.veto.v2+json",
        "application/vnd.safeconduct.Veto.v1+json",
        "application/vnd.safeconduct.veto.v1+json;charset=utf-8",
        "application/vnd.safeconduct.key-possession.v1+json",
        "application/json",
    ] {
        let refused = Record::parse(Envelope::sign(&key, unknown, payload.encode()));
        assert_eq!(refused.unwrap_err().code(), "payload_type_unknown", "{unknown}");
    }
}
