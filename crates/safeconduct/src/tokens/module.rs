//! A token, through its module: Ed25519 keys (`CKK_EC_EDWARDS`, `CKM_EDDSA`) that never leave it.
//!
//! A token goes away and comes back: after any failure the module is put down, and taken up again at the next signature,
//! with the same PIN; it must then have the same key. Only a PIN that the token refused is not tried again, since tokens
//! lock themselves after a few.

use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use signing::keys::PublicKey;
use signing::token::TokenKey;
use tokio::runtime::{Handle, RuntimeFlavor};
use zeroize::Zeroizing;

use super::Making;
use super::uri::Uri;
use super::worker::Worker;
use crate::error::{Error, Result};

/// How long a signature may take. One takes milliseconds, or a second on a card.
const LIMIT: Duration = Duration::from_secs(10);

/// The curve as `CKA_EC_PARAMS` names it: by its OID 1.3.101.112 (RFC 8410), or, which older modules want, by the
/// PrintableString `edwards25519`.
const CURVES: [&[u8]; 2] = [&[0x06, 0x03, 0x2b, 0x65, 0x70], b"\x13\x0cedwards25519"];

/// A step that failed, in words.
type Step<T> = std::result::Result<T, String>;

struct Token {
    context: Pkcs11,
    uri: Uri,
    pin: AuthPin,
    open: Option<Open>,
    /// The key that was found first.
    public: Option<PublicKey>,
    /// Why the token is not asked any more.
    given_up: Option<String>,
}

struct Open {
    session: Session,
    key: ObjectHandle,
}

/// The key that a URI names.
pub fn key(uri: Uri, making: Making, pin: impl FnOnce() -> Result<Zeroizing<String>>) -> Result<TokenKey> {
    let context = Pkcs11::new(&uri.module)
        .map_err(|error| Error::new(format!("cannot load the module {}: {error}", uri.module.display())))?;
    let pin = AuthPin::from(pin()?.as_str().to_owned());
    let label = uri.token.clone();
    let mut token = Token { context, uri, pin, open: None, public: None, given_up: None };
    let failed = |why: String| Error::new(format!("the token {label}: {why}"));
    let public = token.take_up(making).map_err(failed)?;
    let worker = Worker::start(LIMIT, move |message| token.sign(message))?;
    Ok(TokenKey::new(public, Box::new(move |message| waiting(|| worker.ask(message)))))
}

/// Does what may block, also in a task of a runtime with other tasks.
fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
        _ => wait(),
    }
}

impl Token {
    fn sign(&mut self, message: &[u8]) -> Step<Vec<u8>> {
        if let Some(why) = &self.given_up {
            return Err(why.clone());
        }
        let was_open = self.open.is_some();
        match self.try_sign(message) {
            // A session may have ended since the last signature, as many tokens have it.
            Err(_) if was_open => self.try_sign(message),
            other => other,
        }
    }

    fn try_sign(&mut self, message: &[u8]) -> Step<Vec<u8>> {
        if self.open.is_none() {
            self.take_up(Making::Never)?;
        }
        let Some(Open { session, key }) = &self.open else {
            return Err("it is not open".to_owned());
        };
        let plain = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signed = session.sign(&plain, *key, message).map_err(|error| explained(&error));
        if signed.is_err() {
            self.put_down();
        }
        signed
    }

    /// Finds the token and its key; the key must be the one that was found before.
    fn take_up(&mut self, making: Making) -> Step<PublicKey> {
        let found = self.find(making).and_then(|(open, public)| match &self.public {
            Some(before) if *before != public => {
                Err(format!("its key is {} now, and was {}", public.id(), before.id()))
            }
            _ => Ok((open, public)),
        });
        match found {
            Ok((open, public)) => {
                self.open = Some(open);
                self.public = Some(public.clone());
                Ok(public)
            }
            Err(why) => {
                self.put_down();
                Err(why)
            }
        }
    }

    fn put_down(&mut self) {
        // The session closes before its module does.
        self.open = None;
        // Whatever this says, the module is initialised anew.
        let _ = self.context.clone().finalize();
    }

    fn find(&mut self, making: Making) -> Step<(Open, PublicKey)> {
        let begun = self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        match begun {
            Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(explained(&error)),
        }
        let slot = self.slot()?;
        let session = match making {
            Making::Never => self.context.open_ro_session(slot),
            Making::IfMissing | Making::Always => self.context.open_rw_session(slot),
        };
        let session = session.map_err(|error| explained(&error))?;
        self.log_in(&session)?;
        let key = match (self.private(&session)?, making) {
            (Some(_), Making::Always) => {
                return Err(format!(
                    "it has a key {} already, and a key is enrolled once only: choose another name for the object",
                    self.named()
                ));
            }
            (Some(key), _) => key,
            (None, Making::Never) => return Err(format!("it has no Ed25519 key {}", self.named())),
            (None, _) => self.make(&session)?,
        };
        let extractable = attribute(&session, key, AttributeType::Extractable);
        if !matches!(extractable, Some(Attribute::Extractable(false))) {
            return Err(format!(
                "its key {} can be taken out (CKA_EXTRACTABLE), or the token does not say; one made by safeconduct cannot",
                self.named()
            ));
        }
        let public = self.public(&session, key)?;
        Ok((Open { session, key }, public))
    }

    /// The one token of the URI's name.
    fn slot(&self) -> Step<Slot> {
        let slots = self.context.get_slots_with_token().map_err(|error| explained(&error))?;
        let is_meant = |slot: &Slot| {
            self.context.get_token_info(*slot).is_ok_and(|token| {
                token.token_initialized()
                    && token.label() == self.uri.token
                    && self.uri.serial.as_deref().is_none_or(|serial| token.serial_number() == serial)
            })
        };
        let found: Vec<Slot> = slots.into_iter().filter(is_meant).collect();
        match found.as_slice() {
            [slot] => {
                let token = self.context.get_token_info(*slot).map_err(|error| explained(&error))?;
                if token.user_pin_locked() || token.user_pin_final_try() {
                    return Err(
                        "its PIN is locked, or one more wrong PIN would lock it: log in once with a tool of the token's \
                         maker"
                            .to_owned(),
                    );
                }
                Ok(*slot)
            }
            [] => Err(format!("{} finds no such token; is it there?", self.uri.module.display())),
            _ => Err("several have this label; add ;serial= to the URI".to_owned()),
        }
    }

    fn log_in(&mut self, session: &Session) -> Step<()> {
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let why = explained(&error);
                let refused =
                    [RvError::PinIncorrect, RvError::PinInvalid, RvError::PinLenRange, RvError::PinLocked];
                if let TokenError::Pkcs11(code, _) = &error
                    && refused.iter().any(|one| std::mem::discriminant(one) == std::mem::discriminant(code))
                {
                    let why = format!(
                        "the PIN was refused ({why}), and is not tried again, since tokens lock themselves: start again \
                         with the right one"
                    );
                    self.given_up = Some(why.clone());
                    return Err(why);
                }
                Err(why)
            }
        }
    }

    /// The one private key of the URI's name, if there is one.
    fn private(&self, session: &Session) -> Step<Option<ObjectHandle>> {
        let mut template = self.template(ObjectClass::PRIVATE_KEY);
        template.push(Attribute::KeyType(KeyType::EC_EDWARDS));
        let found = session.find_objects(&template).map_err(|error| explained(&error))?;
        match found.as_slice() {
            [] => Ok(None),
            [key] => Ok(Some(*key)),
            _ => Err(format!("it has several keys {}; name one by ;id=", self.named())),
        }
    }

    fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let label = self.uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec()));
        let id = self.uri.id.clone().map(Attribute::Id);
        [Some(Attribute::Class(class)), label, id].into_iter().flatten().collect()
    }

    /// Makes a pair of keys, the secret one never to be read.
    fn make(&self, session: &Session) -> Step<ObjectHandle> {
        let Some(label) = &self.uri.object else {
            return Err("a new key needs a name: add ;object= to the URI".to_owned());
        };
        // Other tools find the halves of a pair by the same id.
        let id = self.uri.id.clone().unwrap_or_else(|| label.as_bytes().to_vec());
        let names = [Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id), Attribute::Token(true)];
        let secret = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        let secret = [names.as_slice(), &secret].concat();
        let mut why = String::new();
        for curve in CURVES {
            let open =
                [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(curve.to_vec())];
            let open = [names.as_slice(), &open].concat();
            match session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &open, &secret) {
                Ok((_, key)) => return Ok(key),
                Err(error) => why = explained(&error),
            }
        }
        Err(format!("it makes no Ed25519 key: {why}"))
    }

    /// The public half, which has the same name and id. That it belongs to the key, each signature shows.
    fn public(&self, session: &Session, key: ObjectHandle) -> Step<PublicKey> {
        let mut template = self.template(ObjectClass::PUBLIC_KEY);
        template.push(Attribute::KeyType(KeyType::EC_EDWARDS));
        template.extend(attribute(session, key, AttributeType::Id).filter(|_| self.uri.id.is_none()));
        let halves = session.find_objects(&template).map_err(|error| explained(&error))?;
        // Some tokens tell it of the private key itself.
        let objects = halves.into_iter().chain([key]);
        let points = objects.filter_map(|object| match attribute(session, object, AttributeType::EcPoint) {
            Some(Attribute::EcPoint(point)) => Some(point),
            _ => None,
        });
        match raw_points(points).as_slice() {
            [Some(raw)] => PublicKey::from_raw(*raw).map_err(|error| error.to_string()),
            [None] => Err("its public key is not one of Ed25519".to_owned()),
            [] => Err(format!("it has no public key {} beside the secret one", self.named())),
            _ => Err(format!("it has several public keys {}; name one by ;id=", self.named())),
        }
    }

    /// The key, for a message.
    fn named(&self) -> String {
        match (&self.uri.object, &self.uri.id) {
            (Some(label), _) => format!("`{label}`"),
            (None, Some(id)) => id.iter().map(|byte| format!("%{byte:02x}")).collect(),
            (None, None) => String::new(),
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.put_down();
    }
}

/// An attribute, where the object has it and shows it.
fn attribute(session: &Session, object: ObjectHandle, which: AttributeType) -> Option<Attribute> {
    session.get_attributes(object, &[which]).ok()?.pop()
}

/// The 32 bytes in a `CKA_EC_POINT`: the DER of an OCTET STRING as PKCS #11 2.40 has it, of a BIT STRING, or bare.
fn raw_point(point: &[u8]) -> Option<[u8; 32]> {
    let bare = match point {
        [0x04, 0x20, raw @ ..] | [0x03, 0x21, 0x00, raw @ ..] if raw.len() == 32 => raw,
        raw => raw,
    };
    bare.try_into().ok()
}

/// The different ones, in whichever way each object writes it; nothing for what is none.
fn raw_points(points: impl Iterator<Item = Vec<u8>>) -> Vec<Option<[u8; 32]>> {
    let mut raw: Vec<_> = points.map(|point| raw_point(&point)).collect();
    raw.sort_unstable();
    raw.dedup();
    raw
}

/// What a module answered, without the paragraph that explains it.
fn explained(error: &TokenError) -> String {
    match error {
        TokenError::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_as_tokens_write_them() {
        let raw = [9; 32];
        for head in [[].as_slice(), &[0x04, 0x20], &[0x03, 0x21, 0x00]] {
            assert_eq!(raw_point(&[head, &raw].concat()), Some(raw));
        }
        // A bare one may begin like the DER of a shorter one.
        let bare = [[0x04, 0x20].as_slice(), &[7; 30]].concat();
        assert_eq!(raw_point(&bare).map(Vec::from), Some(bare));
        for bad in [vec![], vec![4, 32], vec![9; 31], vec![9; 33], [[4, 33].as_slice(), &[9; 33]].concat()] {
            assert_eq!(raw_point(&bad), None);
        }
        // One key, as two objects of a token write it.
        let both = [[[0x04, 0x20].as_slice(), &raw].concat(), vec![8; 32], raw.to_vec()];
        assert_eq!(raw_points(both.into_iter()), [Some([8; 32]), Some(raw)]);
    }
}
