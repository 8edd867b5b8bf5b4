//! A spare key takes itself into use, by its own signature and at once.
//!
//! The quorum that stands behind it is the one that enrolled the spare; why no other is needed is decision 25.

use records::governance::Activation;

use crate::decide::{Context, Effects};
use crate::entity::{Ending, KeyState, Spare};
use crate::governance::check_end;
use crate::key::Key;
use crate::refusal::{Code, Refusal};
use crate::state::Halt;

pub(crate) fn first_keys(body: &Activation) -> Vec<Key> {
    body.replaces.map(Key::PublicKey).into_iter().collect()
}

/// The spare that signs is a key like any other from now on, and the one that it replaces ends.
pub(crate) fn activate(context: Context<'_>, body: &Activation) -> Result<Effects, Halt> {
    let at = context.at;
    let replaced = match body.replaces {
        Some(key) => Some((key, context.view.get::<KeyState>(&Key::PublicKey(key), Code::KeyUnknown)?)),
        None => None,
    };
    if context.key.spare != Some(Spare::Waiting) {
        return Err(Code::KeyNotSpare.into());
    }
    let spare = Spare::Activated { at: at.recorded_at, position: at.position, replaced: body.replaces };
    let effects = Effects::default()
        .set(Key::PublicKey(context.header.key), KeyState { spare: Some(spare), ..context.key.clone() });
    let invalid = |detail: &str| Halt::from(Refusal::with(Code::ActInvalid, detail));
    let Some((key, replaced)) = replaced else {
        let detail = "a position from which on to review takes the key that is replaced";
        return if body.since.is_some() { Err(invalid(detail)) } else { Ok(effects) };
    };
    if replaced.principal != context.header.signer || key == context.header.key {
        return Err(invalid("a spare replaces another key of its own principal"));
    }
    check_end(&context, replaced, body.since)?;
    let since = body.since.map(|since| since.0);
    let until = Some(Ending { at: at.recorded_at, by: context.digest, since });
    Ok(effects.set(Key::PublicKey(key), KeyState { until, ..replaced.clone() }))
}
