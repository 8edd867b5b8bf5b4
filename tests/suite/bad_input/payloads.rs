//! Payloads that are signed by the right key and are not what their kind demands.

use records::Body;
use records::Kind;
use records::assets::AssetRegistration;
use tests::people::Person;
use tests::world::{World, evidence, id};

use super::{accepted, bank, payload_of, refused, signed, with};

const INVALID: &str = "payload_invalid";
const NOT_CANONICAL: &str = "payload_not_canonical";

#[test]
fn a_payload_is_read_strictly() {
    let world = World::new();
    let dora = Person::new("dora");
    let header = world.header(&dora);
    let (time, instruction) = (header.issued_at.to_string(), header.id.to_string());
    let (root, size) = (header.basis.root.to_string(), header.basis.size.to_string());
    let good = payload_of(header, bank("b9"));

    let bank_as = |to: &str| with(&good, r#""bank":"b9""#, &format!(r#""bank":{to}"#));
    let time_as =
        |to: &str| with(&good, &format!(r#""issued_at":"{time}""#), &format!(r#""issued_at":"{to}""#));
    let id_as = |to: &str| with(&good, &instruction, to);
    let size_as = |to: &str| with(&good, &format!(r#""size":"{size}""#), &format!(r#""size":{to}"#));
    let time_says = "YYYY-MM-DDTHH:MM:SSZ";
    let id_says = "UUID of version 7";
    let size_says = "decimal string";
    let bare = time.trim_end_matches('Z');

    for (payload, code, says) in [
        // Not JSON, or not of this kind.
        ("hello".to_owned(), INVALID, "correct it and sign again"),
        (String::new(), INVALID, "correct it and sign again"),
        ("{}".to_owned(), INVALID, "missing field"),
        (format!("[{good}]"), INVALID, "correct it"),
        (format!("\u{feff}{good}"), INVALID, "correct it"),
        (good.clone() + "x", INVALID, "trailing"),
        (good[..good.len() - 1].to_owned(), INVALID, "EOF"),
        (with(&good, r#""bank":"b9","#, ""), INVALID, "missing field `bank`"),
        (with(&good, r#""bank":"b9""#, r#""bank":"b9","more":"x""#), INVALID, "unknown field `more`"),
        (with(&good, "{\"basis\"", r#"{"a":"x","basis""#), INVALID, "unknown field `a`"),
        (with(&good, r#""bank":"b9""#, r#""bank":"b9","bank":"b9""#), INVALID, "duplicate field `bank`"),
        (with(&good, r#""signer":"dora""#, r#""signer":"dora","signer":"anna""#), INVALID, "duplicate field"),
        // The right value in other bytes.
        (with(&good, "{\"basis\"", "{ \"basis\""), NOT_CANONICAL, "remove white space"),
        (good.clone() + "\n", NOT_CANONICAL, "RFC 8785"),
        (
            with(&good, r#""bank":"b9","currency":"USD""#, r#""currency":"USD","bank":"b9""#),
            NOT_CANONICAL,
            "sort the keys",
        ),
        (bank_as(r#""b\u0039""#), NOT_CANONICAL, "unneeded escapes"),
        // Numbers, null and what is no string.
        (size_as("1"), NOT_CANONICAL, "write it as a string"),
        (size_as("1.5"), NOT_CANONICAL, "write it as a string"),
        (size_as("-1"), NOT_CANONICAL, "write it as a string"),
        (bank_as("1e3"), NOT_CANONICAL, "write it as a string"),
        (bank_as("null"), NOT_CANONICAL, "leave the field out"),
        (bank_as("true"), INVALID, "correct it"),
        (bank_as(r#""\ud800""#), INVALID, "hex escape"),
        (bank_as(r#""\udc00\ud800""#), INVALID, "hex escape"),
        (
            bank_as(&format!("{}{}", "[".repeat(8), "]".repeat(8))),
            NOT_CANONICAL,
            "nests deeper than 9 levels",
        ),
        (bank_as(&"[".repeat(20_000)), NOT_CANONICAL, "flatten"),
        // Other spellings.
        (time_as(&format!("{bare}+00:00")), INVALID, time_says),
        (time_as(&format!("{bare}.000Z")), INVALID, time_says),
        (time_as(&format!("{bare}z")), INVALID, time_says),
        (time_as(bare), INVALID, time_says),
        (time_as(&time.replace('T', " ")), INVALID, time_says),
        (time_as("2026-02-30T00:00:00Z"), INVALID, time_says),
        (time_as("2026-02-28T24:00:00Z"), INVALID, time_says),
        (time_as("2026-06-30T23:59:60Z"), INVALID, time_says),
        (time_as("1767225600"), INVALID, time_says),
        (id_as(&instruction.to_uppercase()), INVALID, id_says),
        (id_as(&instruction.replace('-', "")), INVALID, id_says),
        (id_as(&format!("{{{instruction}}}")), INVALID, id_says),
        (id_as(&format!("urn:uuid:{instruction}")), INVALID, id_says),
        (id_as("3f2504e0-4f89-41d3-9a0c-0305e82c3301"), INVALID, id_says),
        (size_as(&format!("\"0{size}\"")), INVALID, size_says),
        (size_as(&format!("\"+{size}\"")), INVALID, size_says),
        (size_as(&format!("\" {size}\"")), INVALID, size_says),
        (size_as("\"-1\""), INVALID, size_says),
        (size_as("\"1e3\""), INVALID, size_says),
        (size_as("\"9223372036854775808\""), INVALID, size_says),
        (with(&good, &root, &root.to_uppercase()), INVALID, "lower-case"),
        (with(&good, &root, &root[2..]), INVALID, "64"),
        (bank_as("\"B9\""), INVALID, "a-z"),
        (bank_as("\"\""), INVALID, "not empty"),
        (bank_as("\"b 9\""), INVALID, "a-z"),
        (bank_as("\"b\u{0455}\""), INVALID, "a-z"),
        (bank_as(&format!("\"{}\"", "b".repeat(65))), INVALID, "64"),
        (with(&good, "USD", "usd"), INVALID, "currency"),
        (with(&good, "USD", "XBT"), INVALID, "currency"),
    ] {
        refused(&world, &signed(&dora, Kind::BankOpening.payload_type(), payload), code, says);
    }
    let mut bytes = good.clone().into_bytes();
    let at = good.find("b9").unwrap();
    bytes[at] = 0xff;
    refused(&world, &signed(&dora, Kind::BankOpening.payload_type(), bytes), INVALID, "correct it");
    accepted(&world, &signed(&dora, Kind::BankOpening.payload_type(), good));
}

#[test]
fn free_text_has_one_spelling() {
    let world = World::new();
    let dora = Person::new("dora");
    let asset = AssetRegistration { asset: id("a9"), description: id("caf\u{e9}"), instrument: evidence() };
    let good = payload_of(world.header(&dora), Body::AssetRegistration(asset));
    let kind = Kind::AssetRegistration.payload_type();
    for (text, code) in [
        ("cafe\u{301}", INVALID),
        ("a\u{202e}b", INVALID),
        ("a\\nb", INVALID),
        ("", INVALID),
        (&"x".repeat(501), INVALID),
        ("caf\\u00e9", NOT_CANONICAL),
    ] {
        let says = if code == INVALID { "1 to 500 characters in Unicode NFC" } else { "unneeded escapes" };
        refused(&world, &signed(&dora, kind, with(&good, "caf\u{e9}", text)), code, says);
    }
    accepted(&world, &signed(&dora, kind, good));
}
