//! Whatever a token answers, no signature leaves that its key did not make over the message.

use crate::keys::{SecretKey, Signature};
use crate::token::{Ask, SignError, Signer as _, TokenKey};

fn key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

fn answered(ask: Ask) -> Result<Signature, SignError> {
    TokenKey::new(key().public().clone(), ask).try_sign(b"a checkpoint")
}

#[test]
fn a_signature_by_the_key_is_passed_on() {
    let signed = answered(Box::new(|message| Ok(key().sign(message).0.to_vec())));
    assert_eq!(signed, Ok(key().sign(b"a checkpoint")));
    assert_eq!(key().try_sign(b"a checkpoint"), signed);
}

#[test]
fn nothing_else_is() {
    let wrong = Err(SignError::Wrong(key().public().id()));
    let right = key().sign(b"a checkpoint").0;
    let mut answers: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 64],
        right[..63].to_vec(),
        [right.as_slice(), &[0]].concat(),
        SecretKey::from_seed([8; 32]).sign(b"a checkpoint").0.to_vec(),
        key().sign(b"another checkpoint").0.to_vec(),
        // As some tokens encode it: the DER of an OCTET STRING.
        [[0x04, 0x40].as_slice(), &right].concat(),
    ];
    for byte in 0..64 {
        let mut spoilt = right;
        spoilt[byte] ^= 1;
        answers.push(spoilt.to_vec());
    }
    for answer in answers {
        let shown = hex::encode(&answer);
        assert_eq!(answered(Box::new(move |_| Ok(answer.clone()))), wrong, "{shown}");
    }
}

#[test]
fn a_failure_is_told() {
    let failed = answered(Box::new(|_| Err("it was pulled out".to_owned()))).unwrap_err();
    assert_eq!(failed.to_string(), "the key's token gave no signature: it was pulled out");
}
