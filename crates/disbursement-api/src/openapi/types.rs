//! What the interface's members are made of: texts of a form, and what other crates serialise.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

macro_rules! types {
    ($($name:ident: $schema:tt;)+) => {
        $(
            #[doc = stringify!($name)]
            pub(crate) enum $name {}

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let schema = serde_json::from_value(json!($schema));
                    // A test makes them all.
                    schema.unwrap_or_else(|error| panic!("{}: {error}", stringify!($name)))
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }
            }
        )+
    };
}

types! {
    Id: {"type": "string", "pattern": "^[a-z0-9_-]{1,64}$"};
    EntryName: {"type": "string", "pattern": "^[0-9a-f]{64}-(0|[1-9][0-9]*)$"};
    Number: {"type": "string", "pattern": "^(0|[1-9][0-9]{0,18})$"};
    Hash: {"type": "string", "pattern": "^[0-9a-f]{64}$"};
    Time: {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"};
    Day: {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"};
    CurrencyCode: {"type": "string", "pattern": "^[A-Z]{3}$"};
    Amount: {"type": "string", "pattern": "^-?(0|[1-9][0-9]*)([.][0-9]+)?$"};
    Cursor: {"type": "string", "pattern": "^[A-Za-z0-9/_~.-]{1,200}$"};
    AccountName: {"type": "string", "pattern": "^[0-9]{4}(/[a-z0-9_-]+){0,2}$"};
    AccountCode: {"type": "string", "pattern": "^[0-9]{4}$"};
    RoleName: {"type": "string", "enum": [
        "agency", "approver", "auditor", "custodian", "director", "payer", "preparer", "reconciler", "screener", "service"
    ]};
    StageName: {"type": "string", "enum": [
        "requested", "obligated", "due", "released", "paid", "rejected", "cancelled", "lapsed"
    ]};
    ScreeningState: {"type": "string", "enum": ["open", "cleared", "refused"]};
    MoneyAmount: {
        "type": "object",
        "properties": {
            "amount": {"type": "string", "pattern": "^-?(0|[1-9][0-9]*)([.][0-9]+)?$"},
            "currency": {"type": "string", "pattern": "^[A-Z]{3}$"}
        },
        "required": ["amount", "currency"]
    };
    EnrolledKey: {
        "type": "object",
        "properties": {
            "algorithm": {"type": "string", "enum": ["ed25519"]},
            "spki": {"type": "string", "pattern": "^[A-Za-z0-9+/]+=*$"}
        },
        "required": ["algorithm", "spki"]
    };
    SignedEnvelope: {
        "type": "object",
        "description": "DSSE; the payload is specified in docs/spec/records.md.",
        "properties": {
            "payload": {"type": "string", "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
            "payloadType": {"type": "string", "pattern": "^[ -~]{1,255}$"},
            "signatures": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "keyid": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                        "sig": {"type": "string", "pattern": "^[A-Za-z0-9+/]{86}==$"}
                    },
                    "required": ["keyid", "sig"]
                }
            }
        },
        "required": ["payload", "payloadType", "signatures"]
    };
    Problem: {
        "type": "object",
        "description": "RFC 9457; the codes are explained in docs/errors.md.",
        "properties": {
            "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
            "detail": {"type": "string"},
            "index": {"type": "string", "pattern": "^(0|[1-9][0-9]*)$"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "title": {"type": "string"},
            "transient": {"type": "boolean"},
            "type": {"type": "string", "pattern": "^urn:safeconduct:problem:[a-z0-9_]+$"}
        },
        "required": ["code", "status", "title", "transient", "type"]
    };
    Specified: {"type": "object", "description": "As docs/spec/records.md specifies it."};
}
