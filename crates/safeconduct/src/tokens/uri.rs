//! PKCS #11 URIs (RFC 7512): which key of which token, and by which module it is reached.
//!
//! Strict: what is not understood is refused, since leaving it out could mean another key. A PIN is never taken from a URI:
//! command lines are seen by others on the machine, and a home's file is no place for one.

use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A key's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// The library that speaks with the token.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The token's serial number, if it matters.
    pub serial: Option<String>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's id. Label or id is there.
    pub id: Option<Vec<u8>>,
}

impl FromStr for Uri {
    type Err = Error;

    fn from_str(text: &str) -> Result<Uri> {
        let rest =
            text.strip_prefix("pkcs11:").ok_or_else(|| wrong(text, "it does not begin with pkcs11:"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut module, mut token, mut serial, mut object, mut id) = (None, None, None, None, None);
        let parts = path.split(';').map(|part| (part, false));
        for (part, is_query) in parts.chain(query.split('&').map(|part| (part, true))) {
            if part.is_empty() {
                continue;
            }
            let (name, value) = part.split_once('=').ok_or_else(|| wrong(text, "a part has no value"))?;
            let value =
                decoded(value).ok_or_else(|| wrong(text, "a percent sign is not followed by two digits"))?;
            let is_new = match (name, is_query) {
                ("token", false) => token.replace(words(text, value)?).is_none(),
                ("serial", false) => serial.replace(words(text, value)?).is_none(),
                ("object", false) => object.replace(words(text, value)?).is_none(),
                ("id", false) => id.replace(value).is_none(),
                ("type", false) if value == b"private" => true,
                ("module-path", true) => module.replace(words(text, value)?).is_none(),
                ("pin-value" | "pin-source", true) => {
                    return Err(Error::new(
                        "a PKCS #11 URI must not hold a PIN or say where one is: it is asked for, or taken from the \
                         environment (docs/operating/tokens.md)",
                    ));
                }
                _ => return Err(wrong(text, &format!("`{name}` is not understood there"))),
            };
            if !is_new {
                return Err(wrong(text, &format!("`{name}` stands twice")));
            }
        }
        let module = module.map(PathBuf::from).filter(|path| path.is_absolute());
        let uri = Uri {
            module: module
                .ok_or_else(|| wrong(text, "it names no module by its absolute path (?module-path=)"))?,
            token: token.ok_or_else(|| wrong(text, "it names no token"))?,
            serial,
            object,
            id,
        };
        match (&uri.object, &uri.id) {
            (None, None) => Err(wrong(text, "it names no key, by object or id")),
            _ => Ok(uri),
        }
    }
}

fn wrong(text: &str, why: &str) -> Error {
    // A PIN that was written into it must not be printed.
    let shown = text.split_once("pin-value").map_or(text, |(before, _)| before);
    Error::new(format!(
        "{shown} is no PKCS #11 URI of a key: {why}. One is pkcs11:token=LABEL;object=LABEL?module-path=/PATH/OF/MODULE.so"
    ))
}

fn words(text: &str, value: Vec<u8>) -> Result<String> {
    let words = String::from_utf8(value).ok().filter(|words| !words.is_empty());
    words.ok_or_else(|| wrong(text, "a part is empty or not UTF-8"))
}

/// The bytes that a percent-encoded text stands for (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = str::from_utf8(&digits).ok().filter(|_| is_hex)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named() {
        let uri: Uri = "pkcs11:token=The%20ledger;serial=a1;object=checkpoints;id=%01%fF;type=private?module-path=/m%3b.so"
            .parse()
            .unwrap();
        assert_eq!(uri.module, PathBuf::from("/m;.so"));
        assert_eq!((uri.token.as_str(), uri.serial.as_deref()), ("The ledger", Some("a1")));
        assert_eq!((uri.object.as_deref(), uri.id), (Some("checkpoints"), Some(vec![1, 255])));
        let uri: Uri = "pkcs11:id=%00;token=t?module-path=/m.so".parse().unwrap();
        assert_eq!((uri.serial, uri.object, uri.id), (None, None, Some(vec![0])));
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, why) in [
            ("token=t;object=o?module-path=/m.so", "begin with pkcs11:"),
            ("pkcs11:token=t;object=o", "names no module"),
            ("pkcs11:token=t;object=o?module-path=m.so", "absolute path"),
            ("pkcs11:object=o?module-path=/m.so", "names no token"),
            ("pkcs11:token=t?module-path=/m.so", "names no key"),
            ("pkcs11:token=t;object?module-path=/m.so", "no value"),
            ("pkcs11:token=t;object=%4?module-path=/m.so", "two digits"),
            ("pkcs11:token=t;object=%+4?module-path=/m.so", "two digits"),
            ("pkcs11:token=t;object=%ff?module-path=/m.so", "not UTF-8"),
            ("pkcs11:token=;object=o?module-path=/m.so", "empty"),
            ("pkcs11:token=t;object=o;object=p?module-path=/m.so", "`object` stands twice"),
            ("pkcs11:token=t;object=o;type=public?module-path=/m.so", "`type` is not understood"),
            ("pkcs11:token=t;object=o;slot-id=1?module-path=/m.so", "`slot-id` is not understood"),
            ("pkcs11:token=t;object=o;module-path=/m.so", "`module-path` is not understood"),
            ("pkcs11:token=t;object=o?module-path=/m.so&token=u", "`token` is not understood"),
            ("pkcs11:token=t;object=o?module-path=/m.so&pin-value=1234", "must not hold a PIN"),
            ("pkcs11:token=t;object=o?pin-source=file:/pin&module-path=/m.so", "must not hold a PIN"),
            ("pkcs11:token=t;pin-value=1234;object=o?module-path=/m.so", "is not understood"),
        ] {
            let said = text.parse::<Uri>().unwrap_err().to_string();
            assert!(said.contains(why) && !said.contains("1234"), "{text}: {said}");
        }
    }
}
