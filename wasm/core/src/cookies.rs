//! Cookies: the proof that a sender receives at the address and port it writes from, asked for under load.
//! WireGuard paper §5.3, §5.4.7. Row 20: boringtun's know no port, and live 128 s.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use ring::constant_time::verify_slices_are_equal;
use zeroize::Zeroize;

use crate::host::{self, Millis};
use crate::message::{COOKIE_REPLY_BYTES, split_macs};
use crate::noise;
use crate::packet::address::Endpoint;

/// A secret makes cookies for this long; whoever was given one uses it for as long again.
const SECRET_MS: Millis = 120_000;

struct Secret {
    bytes: [u8; 32],
    since: Millis,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl Secret {
    fn cookie(&self, from: &Endpoint) -> Option<[u8; 16]> {
        noise::mac(&self.bytes, [from.address_bytes(), &from.port.to_be_bytes()])
    }
}

/// The secret that makes cookies, and the one before it, whose cookies are still about.
#[derive(Default)]
pub struct Cookies {
    current: Option<Secret>,
    previous: Option<Secret>,
}

impl Cookies {
    /// Whether mac2 of a handshake message is keyed with a cookie that its sender's address and port were given.
    pub fn verifies_mac2(&self, datagram: &[u8], from: &Endpoint, now: Millis) -> bool {
        let Some((covered, mac1, mac2)) = split_macs(datagram) else { return false };
        if *mac2 == [0; 16] {
            return false; // as everyone sends it who has no cookie
        }
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            .filter(|secret| now < secret.since + 2 * SECRET_MS)
            .any(|secret| {
                secret
                    .cookie(from)
                    .and_then(|cookie| noise::mac(&cookie, [covered, mac1]))
                    .is_some_and(|computed| verify_slices_are_equal(&computed, mac2).is_ok())
            })
    }

    /// The reply to a handshake message whose sender calls itself `sender`, sealed with the `key` that everyone can make
    /// of our public key. `None` without randomness.
    pub fn reply(
        &mut self,
        key: &[u8; 32],
        datagram: &[u8],
        sender: u32,
        from: &Endpoint,
        now: Millis,
    ) -> Option<[u8; COOKIE_REPLY_BYTES]> {
        let (_, mac1, _) = split_macs(datagram)?;
        let mut cookie = self.secret(now)?.cookie(from)?;
        let nonce: [u8; 24] = host::random_bytes()?;
        let cipher = XChaCha20Poly1305::new(key.into());
        let tag = cipher.encrypt_in_place_detached(&nonce.into(), mac1, &mut cookie).ok()?;
        let fields: [&[u8]; 5] = [&3u32.to_le_bytes(), &sender.to_le_bytes(), &nonce, &cookie, &tag];
        let mut reply = [0; COOKIE_REPLY_BYTES];
        reply.iter_mut().zip(fields.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        Some(reply)
    }

    fn secret(&mut self, now: Millis) -> Option<&Secret> {
        if self.current.as_ref().is_none_or(|secret| now >= secret.since + SECRET_MS) {
            let bytes = host::random_bytes()?;
            self.previous = self.current.replace(Secret { bytes, since: now });
        }
        self.current.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [9; 32];

    fn from(last: u8, port: u16) -> Endpoint {
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&[192, 0, 2, last]);
        Endpoint { family: 4, port, remote, ..Endpoint::default() }
    }

    /// A message with the mac2 that its sender makes of a cookie reply.
    fn with_cookie(reply: &[u8; 64], datagram: &[u8]) -> Vec<u8> {
        let mut cookie: [u8; 16] = *reply[32..].first_chunk().unwrap();
        let nonce: [u8; 24] = *reply[8..].first_chunk().unwrap();
        let (covered, mac1, _) = split_macs(datagram).unwrap();
        XChaCha20Poly1305::new(&KEY.into())
            .decrypt_in_place_detached(&nonce.into(), mac1, &mut cookie, reply[48..].into())
            .unwrap();
        let mac2 = noise::mac(&cookie, [covered, mac1]).unwrap();
        [covered, mac1, &mac2].concat()
    }

    #[test]
    fn a_cookie_is_good_for_one_address_and_port_for_two_minutes_at_least() {
        let mut cookies = Cookies::default();
        let datagram = [5; 148];
        assert!(!cookies.verifies_mac2(&datagram, &from(1, 1000), 0), "nobody was given one yet");
        let reply = cookies.reply(&KEY, &datagram, 0x0403_0201, &from(1, 1000), 0).unwrap();
        assert_eq!(reply[..8], [3, 0, 0, 0, 1, 2, 3, 4]);
        let proven = with_cookie(&reply, &datagram);
        assert!(cookies.verifies_mac2(&proven, &from(1, 1000), 0));
        assert!(!cookies.verifies_mac2(&proven, &from(1, 1001), 0), "another port");
        assert!(!cookies.verifies_mac2(&proven, &from(2, 1000), 0), "another address");
        assert!(!cookies.verifies_mac2(&datagram, &from(1, 1000), 0), "no cookie");
        let mut bent = proven.clone();
        bent[100] ^= 1;
        assert!(!cookies.verifies_mac2(&bent, &from(1, 1000), 0), "another message");

        let late = cookies.reply(&KEY, &datagram, 1, &from(1, 1000), SECRET_MS - 1).unwrap();
        let late = with_cookie(&late, &datagram);
        cookies.reply(&KEY, &datagram, 1, &from(7, 7), SECRET_MS).unwrap(); // the secret changes
        assert!(cookies.verifies_mac2(&late, &from(1, 1000), 2 * SECRET_MS - 1));
        assert!(!cookies.verifies_mac2(&late, &from(1, 1000), 2 * SECRET_MS));
    }

    #[test]
    fn replies_repeat_no_nonce() {
        let mut cookies = Cookies::default();
        let mut reply = || cookies.reply(&KEY, &[5; 148], 1, &from(1, 1000), 0).unwrap();
        let (one, two) = (reply(), reply());
        assert_ne!(one[8..32], two[8..32]);
    }
}
