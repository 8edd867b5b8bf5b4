//! Envelopes that are none, or whose signature is not over what they say.

use records::disbursements::Cancellation;
use records::journal::Lapse;
use records::{Body, Kind, Payload, Record};
use signing::digest::Digest;
use signing::dsse::Envelope;
use tests::people::Person;
use tests::service::ledger_keys;
use tests::world::{World, id};

use super::{accepted, bank, payload_of, refused, text_of, with};

#[test]
fn an_envelope_is_read_strictly() {
    let world = World::new();
    let good = text_of(world.sign("dora", bank("b9")).envelope());
    let field = |name: &str| {
        let begin = good.find(&format!("\"{name}\":\"")).unwrap() + name.len() + 4;
        good[begin..begin + good[begin..].find('"').unwrap()].to_owned()
    };
    let (payload, keyid, sig) = (field("payload"), field("keyid"), field("sig"));
    let kind = Kind::BankOpening.payload_type();
    let signature = format!(r#"{{"keyid":"{keyid}","sig":"{sig}"}}"#);
    let boris = Person::new("boris").key.public().id().to_string();

    let change = |from: &str, to: &str| with(&good, from, to);
    let sig_as = |to: &str| change(&format!(r#""sig":"{sig}""#), &format!(r#""sig":{to}"#));
    let payload_as = |to: &str| change(&format!(r#""payload":"{payload}""#), &format!(r#""payload":{to}"#));
    let type_as = |to: &str| change(&format!(r#""{kind}""#), to);
    let keyid_as = |to: &str| change(&format!(r#""keyid":"{keyid}""#), &format!(r#""keyid":{to}"#));
    let quoted = |text: &str| format!("\"{text}\"");
    // The last letter before the padding carries two bits of the signature and four that must be zero.
    let stray = {
        let (rest, last) = sig.strip_suffix("==").unwrap().split_at(85);
        format!("{rest}{}==", char::from(last.as_bytes()[0] + 1))
    };

    for (envelope, code, says) in [
        // Signatures: how many, and by which key.
        (change(&signature, &format!("{signature},{signature}")), "envelope_signature_count", "exactly one"),
        (change(&signature, ""), "envelope_signature_count", "exactly one"),
        (change(&format!("[{signature}]"), &signature), "envelope_signature_count", "exactly one"),
        (change(&format!(r#""keyid":"{keyid}","#), ""), "envelope_field_missing", "keyid"),
        (change(&format!(r#","sig":"{sig}""#), ""), "envelope_field_missing", "sig"),
        (keyid_as(&quoted(&keyid.to_uppercase())), "envelope_keyid", "64 lower-case"),
        (keyid_as(&quoted(&keyid[1..])), "envelope_keyid", "SHA-256"),
        (keyid_as("\"dora\""), "envelope_keyid", "SHA-256"),
        (keyid_as("[]"), "envelope_keyid", "SHA-256"),
        (keyid_as(&quoted(&boris)), "payload_key_mismatch", "sign with the key"),
        (keyid_as(&quoted(&"0".repeat(64))), "payload_key_mismatch", "sign with the key"),
        // Base64.
        (sig_as(&quoted(&format!("-{}", &sig[1..]))), "envelope_base64", "standard base64"),
        (sig_as(&quoted(&format!("_{}", &sig[1..]))), "envelope_base64", "standard base64"),
        (payload_as(&quoted(&format!("_{}", &payload[1..]))), "envelope_base64", "payload must be padded"),
        (sig_as(&quoted(sig.trim_end_matches('='))), "envelope_base64", "padded"),
        (sig_as(&quoted(&format!("{sig}="))), "envelope_base64", "padded"),
        (sig_as(&quoted(&stray)), "envelope_base64", "standard base64"),
        (sig_as(&quoted(&format!("{}\\n{}", &sig[..40], &sig[40..]))), "envelope_base64", "standard base64"),
        (sig_as(&quoted(&"A".repeat(84))), "envelope_signature_length", "64 bytes"),
        (sig_as("\"\""), "envelope_signature_length", "64 bytes"),
        (payload_as("[]"), "envelope_base64", "payload"),
        // Fields.
        (change("{\"payload\"", r#"{"note":"hello","payload""#), "envelope_field_unknown", "remove it"),
        (change(r#"{"keyid""#, r#"{"alg":"ed25519","keyid""#), "envelope_field_unknown", "alg"),
        (change(&format!(r#""payload":"{payload}","#), ""), "envelope_field_missing", "payload"),
        (change("{\"payload\"", r#"{"payload":"","payload""#), "envelope_not_json", "unique keys"),
        (change(r#"{"keyid""#, &format!(r#"{{"keyid":"{boris}","keyid""#)), "envelope_not_json", "twice"),
        (type_as("\"\""), "envelope_payload_type", "1 to 255"),
        (type_as("\"application json\""), "envelope_payload_type", "printable"),
        (type_as(&quoted(&"a".repeat(256))), "envelope_payload_type", "255"),
        (type_as(r#""application/json""#), "payload_type_unknown", "docs/spec/records.md"),
        (type_as(&quoted(&kind.replace("v1", "v2"))), "payload_type_unknown", "docs/spec/records.md"),
        (
            type_as(r#""application/vnd.safeconduct.key-possession.v1+json""#),
            "payload_type_unknown",
            "docs/spec/records.md",
        ),
        // What JSON could be.
        (type_as("1"), "envelope_not_json", "write it as a string"),
        (type_as("1.5"), "envelope_not_json", "write it as a string"),
        (type_as("null"), "envelope_not_json", "leave the field out"),
        (type_as(r#""\ud800""#), "envelope_not_json", "DSSE envelope"),
        (type_as("true"), "envelope_payload_type", "printable"),
        (payload_as(&format!("{}{}", "[".repeat(9), "]".repeat(9))), "envelope_not_json", "levels"),
        ("[".repeat(100_000) + &"]".repeat(100_000), "envelope_too_large", "65,000"),
        (format!("[{good}]"), "envelope_not_json", "DSSE envelope"),
        (quoted("an envelope"), "envelope_not_json", "DSSE envelope"),
        ("null".to_owned(), "envelope_not_json", "DSSE envelope"),
        ("{}".to_owned(), "envelope_field_missing", "payload, payloadType and signatures"),
        (payload_as(&quoted(&"A".repeat(65_000))), "envelope_too_large", "split"),
    ] {
        refused(&world, &envelope, code, says);
    }
    // Around an envelope, another spelling of the same JSON changes nothing.
    accepted(&world, &format!(" {} ", with(&good, "{\"payload\"", "{ \"\\u0070ayload\"")));
}

#[test]
fn a_signature_holds_for_one_kind_one_payload_and_one_key() {
    let world = World::new();
    let good = world.sign("dora", bank("b9")).envelope().clone();
    let spoilt = |spoil: &dyn Fn(&mut Envelope)| {
        let mut envelope = good.clone();
        spoil(&mut envelope);
        text_of(&envelope)
    };
    let other = world.sign("dora", bank("b8")).envelope().clone();
    let signed_by_boris = {
        let by = Person::new("boris").key.sign(&good.pae());
        spoilt(&|envelope| envelope.signature = by)
    };
    // A cancellation and a rejection have the same fields, and differ in the type that is signed.
    let cancellation = Cancellation { disbursement: id("d1"), reason: id("no"), request: Digest::of("r") };
    let mut rejection = world.sign("dora", Body::Cancellation(cancellation)).envelope().clone();
    rejection.payload_type = Kind::Rejection.payload_type().to_owned();
    for envelope in [
        text_of(&rejection),
        spoilt(&|envelope| envelope.payload = other.payload.clone()),
        spoilt(&|envelope| envelope.signature = other.signature),
        spoilt(&|envelope| envelope.signature.0[63] ^= 1),
        spoilt(&|envelope| envelope.signature.0[0] ^= 0x80),
        // The same point and scalar, the scalar written in another way.
        spoilt(&|envelope| add_order(&mut envelope.signature.0)),
        spoilt(&|envelope| envelope.signature.0 = [0; 64]),
        signed_by_boris,
    ] {
        refused(&world, &envelope, "signature_invalid", "sign again");
    }
    // Signed by the right key, and naming another.
    let header = world.header(&Person::new("dora"));
    let payload = payload_of(header, bank("b9")).into_bytes();
    let by_boris = Envelope::sign(&Person::new("boris").key, Kind::BankOpening.payload_type(), payload);
    refused(&world, &text_of(&by_boris), "payload_key_mismatch", "sign with the key that it names");
    accepted(&world, &text_of(&good));
}

/// Adds the order of Ed25519's group to a signature's scalar, little-endian from byte 32 on.
fn add_order(signature: &mut [u8; 64]) {
    let low =
        [0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14];
    let order = low.into_iter().chain([0; 15]).chain([0x10]);
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + add + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
}

#[test]
fn what_the_ledger_signs_is_not_taken_from_outside() {
    let world = World::new();
    let lapse = Lapse {
        disbursement: id("d1"),
        expired: world.clock.now(),
        ledger: world.ledger,
        request: Digest::of("r"),
    };
    for key in [&ledger_keys().record, &Person::new("dora").key] {
        let record = Record::sign(Payload::Lapse(lapse.clone()), key).unwrap();
        refused(&world, &text_of(record.envelope()), "role_missing", "the ledger alone writes");
    }
}
