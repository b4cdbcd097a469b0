//! Lets the core have the transport keys of a session. boringtun keeps them to itself, but it binds them to this crate's
//! [`LessSafeKey`], the last two of a handshake: the key to open with, then the key to seal with.
//!
//! Nothing is kept outside of [`last_two_keys`]; what it does not hand out is wiped when it returns.

use std::cell::RefCell;

use crate::aead::{LessSafeKey, UnboundKey};

thread_local! {
    /// The last key but one and the last, while someone asks for them.
    static BOUND: RefCell<Option<[Option<Box<UnboundKey>>; 2]>> = const { RefCell::new(None) };
}

/// Runs `work`; returns with its result the last two keys it bound on this thread, in their order, if it bound two.
/// Not to be nested: the inner call would take the keys of the outer.
pub fn last_two_keys<R>(work: impl FnOnce() -> R) -> (R, Option<[LessSafeKey; 2]>) {
    BOUND.set(Some([None, None]));
    let result = work();
    let keys = match BOUND.take() {
        Some([Some(first), Some(second)]) => Some([LessSafeKey { key: first }, LessSafeKey { key: second }]),
        _ => None,
    };
    (result, keys)
}

/// A key is bound: remembered if someone asks for it.
pub(crate) fn bound(key: &UnboundKey) {
    BOUND.with_borrow_mut(|bound| {
        if let Some(keys) = bound {
            keys.rotate_left(1);
            let [_, last] = keys;
            *last = Some(key.duplicate());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::{Aad, CHACHA20_POLY1305, Nonce};

    fn bind(byte: u8) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[byte; 32]).unwrap())
    }

    fn tag_by(key: &LessSafeKey) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_separate_tag(nonce, Aad::from([]), &mut []).unwrap().as_ref().try_into().unwrap()
    }

    #[test]
    fn hands_out_the_last_two_keys_in_their_order() {
        let (result, keys) = last_two_keys(|| [1, 2, 3].map(|byte| drop(bind(byte))).len());
        assert_eq!(result, 3);
        let tags = keys.unwrap().map(|key| tag_by(&key));
        assert_eq!(tags, [tag_by(&bind(2)), tag_by(&bind(3))]);
    }

    #[test]
    fn knows_nothing_of_keys_bound_before_or_of_one_alone() {
        bind(1);
        assert!(last_two_keys(|| drop(bind(2))).1.is_none());
        bind(3);
        assert!(last_two_keys(|| ()).1.is_none());
        assert!(BOUND.take().is_none());
    }
}
