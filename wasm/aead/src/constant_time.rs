//! Comparison whose time depends on the lengths alone, never on the bytes.

use subtle::ConstantTimeEq;

use crate::error::Unspecified;

/// `Ok` if both slices hold the same bytes. Slices of different lengths are refused at once: lengths are no secret.
pub fn verify_slices_are_equal(a: &[u8], b: &[u8]) -> Result<(), Unspecified> {
    if bool::from(a.ct_eq(b)) { Ok(()) } else { Err(Unspecified) }
}
