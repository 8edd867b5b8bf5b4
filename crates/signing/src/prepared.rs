//! Public keys prepared for many signatures: the same verdicts as [`PublicKey::verify`], by tables of multiples.
//!
//! A signature `(R, S)` by `A` over `M` holds if `R` is the encoding of `[S]B - [k]A`, where `k` is the SHA-512 of `R`, `A`
//! and `M` (RFC 8032 section 5.1.7, without the cofactor). Both products are of points that recur, so instead of some 250
//! doublings each is a sum of 32 multiples, looked up by the bytes of its scalar (fixed-base windowing). The group's
//! operations are those of `curve25519-dalek`. All of it is public, so the time that it takes may depend on it.
//!
//! What `verify_strict` refuses is refused: an `S` that is not canonical when it is read; an `R` that is not canonical since
//! encodings are compared and never points; an `R` of small order since there are eight encodings of such points.
//! A weak or non-canonical `A` is no [`PublicKey`]. `docs/decisions/0017-prepared-keys.md` says why it is done.

use std::array;
use std::sync::LazyLock;

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use sha2::{Digest as _, Sha512};

use crate::keys::{BadSignature, PublicKey, Signature};

/// How many digits a scalar has: its bytes.
const DIGITS: usize = 32;

/// The largest digit; the smallest is -127, and of a negative one the multiple is subtracted.
const DIGIT_MAX: usize = 128;

static MULTIPLES_OF_B: LazyLock<Multiples> = LazyLock::new(|| Multiples::of(ED25519_BASEPOINT_POINT));

/// The canonical encodings of the points of small order.
static SMALL_ORDER: LazyLock<[[u8; 32]; 8]> =
    LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress().to_bytes()));

/// A public key with a table of its multiples, 640 KiB. It pays for itself after some fifty signatures.
pub struct PreparedKey {
    public: PublicKey,
    /// Of the point `-A`.
    multiples: Multiples,
}

/// A signature that is said to be by a key over a message, which is in two parts.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub key: &'a PreparedKey,
    pub message: [&'a [u8]; 2],
    pub signature: &'a Signature,
}

impl PreparedKey {
    /// Computes the multiples, by some 4,000 additions.
    pub fn new(public: PublicKey) -> Self {
        let multiples = Multiples::of(-public.point());
        Self { public, multiples }
    }

    /// The key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Verifies strictly that `signature` is one by this key over `message`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        verify_all(&[Claim { key: self, message: [message, &[]], signature }])
            .pop()
            .unwrap_or(Err(BadSignature))
    }
}

/// Verifies each by itself, strictly. What they share is the inversion by which points are encoded.
pub(crate) fn verify_all(claims: &[Claim<'_>]) -> Vec<Result<(), BadSignature>> {
    let expected: Vec<Option<EdwardsPoint>> = claims.iter().map(Claim::expected).collect();
    let points: Vec<EdwardsPoint> = expected.iter().map(|point| point.unwrap_or_default()).collect();
    let encodings = EdwardsPoint::compress_batch_alloc(&points);
    let verdict =
        |((claim, expected), encoding): ((&Claim<'_>, &Option<EdwardsPoint>), &CompressedEdwardsY)| {
            let (r, _) = claim.signature.halves();
            let holds = expected.is_some() && encoding.as_bytes() == r && !SMALL_ORDER.contains(r);
            if holds { Ok(()) } else { Err(BadSignature) }
        };
    claims.iter().zip(&expected).zip(&encodings).map(verdict).collect()
}

impl Claim<'_> {
    /// `[S]B - [k]A`; nothing where `S` is not canonical.
    fn expected(&self) -> Option<EdwardsPoint> {
        let (r, s) = self.signature.halves();
        let s: Scalar = Option::from(Scalar::from_canonical_bytes(*s))?;
        let start = Sha512::new().chain_update(r).chain_update(self.key.public.raw());
        let hash = self.message.iter().fold(start, |hash, part| hash.chain_update(part));
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let of_b = MULTIPLES_OF_B.add_to(EdwardsPoint::default(), &s);
        Some(self.key.multiples.add_to(of_b, &k))
    }
}

/// For each digit of a scalar, the multiples 1 to 128 of the point that a digit of 1 stands for.
pub(crate) struct Multiples(Vec<[EdwardsPoint; DIGIT_MAX]>);

impl Multiples {
    pub fn of(point: EdwardsPoint) -> Self {
        let mut unit = point;
        let rows = (0..DIGITS).map(|_| {
            let mut sum = EdwardsPoint::default();
            let row: [EdwardsPoint; DIGIT_MAX] = array::from_fn(|_| {
                sum += unit;
                sum
            });
            unit = sum + sum;
            row
        });
        Self(rows.collect())
    }

    /// Adds the multiple by `scalar` to `sum`.
    pub fn add_to(&self, sum: EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
        let digits = digits(scalar);
        // All are fetched before the first is added, so that no addition waits for memory.
        let mut terms = [EdwardsPoint::default(); DIGITS];
        for ((term, row), digit) in terms.iter_mut().zip(&self.0).zip(digits) {
            if let Some(multiple) = usize::from(digit.unsigned_abs()).checked_sub(1) {
                *term = row[multiple];
            }
        }
        terms
            .iter()
            .zip(digits)
            .fold(sum, |sum, (term, digit)| if digit < 0 { sum - term } else { sum + term })
    }
}

/// The digits in base 256 from -127 to 128, the least significant first. A scalar is less than 2^253, so nothing is
/// carried beyond the last.
fn digits(scalar: &Scalar) -> [i16; DIGITS] {
    let mut carry = 0;
    scalar.to_bytes().map(|byte| {
        let digit = i16::from(byte) + carry;
        carry = i16::from(digit > 128);
        digit - 256 * carry
    })
}
