//! Ed25519 keys (RFC 8032): public keys and their ids, signatures, and secret keys with their encrypted files. Keys that are
//! not in memory are in [`token`](crate::token).
//!
//! Verification is strict (`verify_strict`): small-order points are refused, and so is every encoding of a point or
//! scalar but the canonical one, so that a signature that one verifier accepts is accepted by all, and no key exists
//! that signs every message. The same rules hold for a [`PublicKey`] when it is made, at enrolment or elsewhere.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::edwards::EdwardsPoint;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes, PublicKeyBytes};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::digest::{Digest, DigestError, FromText};

/// The DER of a SubjectPublicKeyInfo before the 32 bytes of an Ed25519 key (RFC 8410 section 4): algorithm
/// 1.3.101.112 without parameters, then the head of a BIT STRING. DER admits no other.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// scrypt's cost for a key file (RFC 7914): N = 2^14, r = 8, p = 5, some 16 MiB and a tenth of a second.
///
/// OpenSSL opens no file that needs 32 MiB or more (its default `maxmem`, which `openssl pkey` cannot raise), so N = 2^15
/// with r = 8 is out of reach; five passes over half the memory cost an attacker more than one pass over all of it.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 5;

/// The most that a key file of another program may ask for, so that a crafted file cannot exhaust the machine.
const SCRYPT_MEMORY_MAX: u64 = 1 << 30;
const SCRYPT_P_MAX: u16 = 16;
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// What identifies a key: the SHA-256 digest of its DER SubjectPublicKeyInfo, in text 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub Digest);

impl KeyId {
    /// The digest that the id is.
    pub const fn digest(&self) -> Digest {
        self.0
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

impl FromStr for KeyId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

/// An Ed25519 signature (RFC 8032 section 5.1.6). Any 64 bytes are one; only verification tells whether it holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// The signature that consists of these 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// The encoded point `R` and the scalar `S`.
    pub(crate) fn halves(&self) -> (&[u8; 32], &[u8; 32]) {
        match self.0.as_chunks() {
            ([r, s], []) => (r, s),
            // 64 bytes are two times 32.
            _ => (&[0; 32], &[0xff; 32]),
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

/// The signature is not one by this key over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not one by this key over these bytes")]
pub struct BadSignature;

/// Why a key could not be read, made or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the DER SubjectPublicKeyInfo of an Ed25519 key, or not its only encoding.
    #[error("not the DER SubjectPublicKeyInfo of an Ed25519 key (RFC 8410)")]
    Der,
    /// The 32 bytes are no point of the curve, or not that point's canonical encoding.
    #[error("the key is not the canonical encoding of a point of the curve")]
    Point,
    /// The point has a small order: signatures by it prove nothing.
    #[error("the key is weak: its point has a small order")]
    Weak,
    /// The file is not PEM with the label `ENCRYPTED PRIVATE KEY`.
    #[error("the key file is not PEM with the label ENCRYPTED PRIVATE KEY")]
    Pem,
    /// The file is encrypted in a way that is not supported, or asks for too much work.
    #[error("the key file is not encrypted with PBES2 (scrypt or PBKDF2, AES-CBC) within the supported cost")]
    Encryption,
    /// The passphrase does not open the file.
    #[error("the passphrase does not open the key file")]
    Passphrase,
    /// The file was opened, but what it holds is no Ed25519 private key.
    #[error("the key file holds no Ed25519 private key")]
    Content,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// An Ed25519 public key that is canonical and not weak.
///
/// As JSON: `{"algorithm":"ed25519","spki":"<padded standard base64 of the DER>"}`. Ordered by its 32 bytes.
#[derive(Clone)]
pub struct PublicKey {
    key: VerifyingKey,
    id: KeyId,
}

impl PublicKey {
    /// The key in a DER SubjectPublicKeyInfo (RFC 8410), which must be that key's only encoding.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let raw = PublicKeyBytes::try_from(der).map_err(|_| KeyError::Der)?;
        let key = Self::from_raw(raw.0)?;
        // The parser follows DER, but the bytes are hashed into the key's id: no leniency may matter.
        if key.spki_der() == der { Ok(key) } else { Err(KeyError::Der) }
    }

    /// The key with this encoding (RFC 8032 section 5.1.2), refused if it is not canonical or weak.
    pub fn from_raw(raw: [u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(&raw).map_err(|_| KeyError::Point)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        // Decompression accepts y >= p and x = -0; the point encodes itself in one way only.
        if key.to_edwards().compress().to_bytes() != raw {
            return Err(KeyError::Point);
        }
        Ok(Self::from_checked(key))
    }

    fn from_checked(key: VerifyingKey) -> Self {
        Self { key, id: KeyId(Digest::of(spki(key.as_bytes()))) }
    }

    /// The DER SubjectPublicKeyInfo (RFC 8410), 44 bytes.
    pub fn spki_der(&self) -> Vec<u8> {
        spki(self.key.as_bytes())
    }

    /// The 32 bytes of the key (RFC 8032 section 5.1.2).
    pub fn raw(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The SHA-256 digest of [`spki_der`](Self::spki_der), computed once.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The point.
    pub(crate) fn point(&self) -> EdwardsPoint {
        self.key.to_edwards()
    }

    /// Verifies strictly that `signature` is one by this key over `message`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.key.verify_strict(message, &signature).map_err(|_| BadSignature)
    }
}

fn spki(raw: &[u8; 32]) -> Vec<u8> {
    [SPKI_PREFIX.as_slice(), raw].concat()
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key.as_bytes() == other.key.as_bytes()
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.as_bytes().cmp(other.key.as_bytes())
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.as_bytes().hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.key.as_bytes()))
    }
}

/// The JSON form, its fields in sorted order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyJson {
    algorithm: Algorithm,
    spki: SpkiText,
}

#[derive(Serialize, Deserialize)]
enum Algorithm {
    #[serde(rename = "ed25519")]
    Ed25519,
}

struct SpkiText(PublicKey);

impl Serialize for SpkiText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0.spki_der()))
    }
}

impl<'de> Deserialize<'de> for SpkiText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| {
            let der = STANDARD.decode(text).map_err(|_| KeyError::Der)?;
            PublicKey::from_spki_der(&der).map(SpkiText)
        };
        deserializer.deserialize_str(FromText("a DER SubjectPublicKeyInfo in padded standard base64", parse))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PublicKeyJson { algorithm: Algorithm::Ed25519, spki: SpkiText(self.clone()) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PublicKeyJson::deserialize(deserializer).map(|json| json.spki.0)
    }
}

/// An Ed25519 secret key. Its bytes are overwritten when it is dropped, and it never prints them.
pub struct SecretKey {
    signing: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| KeyError::Random)?;
        Ok(Self::from_signing_key(SigningKey::from_bytes(&seed)))
    }

    /// The key with this seed (RFC 8032 section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self::from_signing_key(SigningKey::from_bytes(&seed))
    }

    fn from_signing_key(signing: SigningKey) -> Self {
        // A clamped scalar is no multiple of the group's order, so the public key cannot be weak, and its own
        // encoding is canonical.
        let public = PublicKey::from_checked(signing.verifying_key());
        Self { signing, public }
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message` (RFC 8032 section 5.1.6, deterministic).
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signing.sign(message).to_bytes())
    }

    /// The key as a PEM file that `passphrase` opens: PKCS#8 `ENCRYPTED PRIVATE KEY` (RFC 5958), PBES2 (RFC 8018) with
    /// scrypt (RFC 7914, N = 2^14, r = 8, p = 5) and AES-256-CBC. OpenSSL reads it.
    pub fn to_pkcs8_pem(&self, passphrase: &str) -> Result<String, KeyError> {
        let mut salt = [0; 16];
        let mut iv = [0; 16];
        getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut iv)).map_err(|_| KeyError::Random)?;
        let cost = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).map_err(|_| KeyError::Encryption)?;
        let parameters = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
            .map_err(|_| KeyError::Encryption)?;
        // Without the public key in it (version 1), which is the only version that OpenSSL 1.1 and 3 read.
        let plain = KeypairBytes { secret_key: self.signing.to_bytes(), public_key: None }
            .to_pkcs8_der()
            .map_err(|_| KeyError::Content)?;
        let sealed = PrivateKeyInfoRef::try_from(plain.as_bytes())
            .and_then(|info| info.encrypt_with_params(parameters, passphrase))
            .map_err(|_| KeyError::Encryption)?;
        let pem = sealed
            .to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .map_err(|_| KeyError::Pem)?;
        Ok(pem.as_str().to_owned())
    }

    /// The key in a PEM file of [`to_pkcs8_pem`](Self::to_pkcs8_pem), or of another program that uses PBES2 with scrypt
    /// or PBKDF2 at a bearable cost.
    pub fn from_pkcs8_pem(pem: &str, passphrase: &str) -> Result<Self, KeyError> {
        let (label, sealed) = SecretDocument::from_pem(pem).map_err(|_| KeyError::Pem)?;
        if label != EncryptedPrivateKeyInfoRef::PEM_LABEL {
            return Err(KeyError::Pem);
        }
        let info =
            EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes()).map_err(|_| KeyError::Encryption)?;
        if !cost_is_bearable(info.encryption_algorithm.pbes2()) {
            return Err(KeyError::Encryption);
        }
        let plain = info.decrypt(passphrase).map_err(|_| KeyError::Passphrase)?;
        let signing = SigningKey::from_pkcs8_der(plain.as_bytes()).map_err(|_| KeyError::Content)?;
        Ok(Self::from_signing_key(signing))
    }
}

fn cost_is_bearable(parameters: Option<&pbes2::Parameters>) -> bool {
    match parameters.map(|p| &p.kdf) {
        Some(pbes2::Kdf::Scrypt(s)) => {
            let memory = s.cost_parameter.saturating_mul(u64::from(s.block_size)).saturating_mul(128);
            memory <= SCRYPT_MEMORY_MAX && s.parallelization <= SCRYPT_P_MAX
        }
        Some(pbes2::Kdf::Pbkdf2(p)) => p.iteration_count <= PBKDF2_ITERATIONS_MAX,
        _ => false,
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public.id)
    }
}
