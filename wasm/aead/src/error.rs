//! The one error of this crate. It says nothing on purpose: which check failed is a hint to a forger.

/// A key of the wrong length, a text beyond the limit of RFC 8439, or a packet that is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unspecified;

impl core::fmt::Display for Unspecified {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ring::error::Unspecified")
    }
}

impl core::error::Error for Unspecified {}
