//! The control block: where the host writes the arguments of the rare calls and reads their results. Keys that
//! pass through are wiped as soon as they are read.
//!
//! ```text
//! set_identity 0 private key 32
//! add_peer     0 public key 32 │ 32 preshared key 32 │ 64 endpoint 40 │ 104 keepalive s u16 │ 106 has psk u8
//! set_endpoint 0 endpoint 40
//! set_preshared_key 0 preshared key 32 │ 32 has psk u8
//! add_keys     0 public key 32 │ 32 preshared key 32 │ 64 has psk u8
//! say          0 message
//! heard        0 peer u32 │ 4 message
//! allow        0 address 16 (IPv4 in the first four)
//! peer_status  0 endpoint 40 │ 40 rx bytes u64 │ 48 tx bytes u64 │ 56 last handshake ms f64, −1 = never │ 64 made with the second keys u8
//! lookup       0 addresses, 16 bytes each (IPv4 in the first four); each one's peer u32 comes back in the place of its first four
//! policy_stage 0 records of 64 bytes (filter/decode.rs)
//! filter_status 0 is on u32 │ 4 generation u32 │ 8 rules u32 │ 12 flows u32 │ 16 most flows u32 │ 24 flows that gave way u64
//! filter_drops 0 row to go on with u32 (4,096 = that was all) │ 8 rows of 32 bytes (filter/report.rs)
//! filter_meters 0 row to go on with u32 (2^32 − 1 = that was all) │ 8 rows of 64 bytes (filter/meters.rs)
//! filter_log   0 entries of 64 bytes (filter/report.rs)
//! judge        0 the packet, then 0 rule u32
//! seal, open   0 key 32 │ 32 nonce 12 │ 44 additional data, then text, then 16 bytes of tag
//! ```

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::allowed_ips::{AllowedIps, NO_PEER, Prefix};
use crate::arena::CONTROL_BYTES;
use crate::device::{PeerSettings, Refusal};
use crate::filter::{Filter, FilterStatus};
use crate::packet::address::{Address, Endpoint, Version};
use crate::peer::PeerStatus;

/// A secret key; wipes itself.
pub type Key = Zeroizing<[u8; 32]>;

const AEAD_TEXT: usize = 44;
const TAG_BYTES: usize = 16;
/// Addresses looked up at once, as many as frames are taken in by one call.
const LOOKUP_GROUP: usize = 64;

pub struct ControlBlock {
    bytes: Box<[u8]>,
    /// The key [`ControlBlock::aead`] was last given, bound once as a session's is.
    bound: Option<(Key, LessSafeKey)>,
}

impl ControlBlock {
    pub fn new() -> Self {
        ControlBlock { bytes: vec![0; CONTROL_BYTES].into_boxed_slice(), bound: None }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Copies 32 bytes out and wipes them here.
    fn take_key(&mut self, offset: usize) -> Result<Key, Refusal> {
        let place: &mut [u8; 32] =
            self.bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut).ok_or(Refusal::BadArgument)?;
        let key = Zeroizing::new(*place);
        place.zeroize();
        Ok(key)
    }

    fn flag(&self, offset: usize) -> bool {
        self.bytes.get(offset).is_some_and(|&byte| byte != 0)
    }

    fn endpoint(&self, offset: usize) -> Result<Endpoint, Refusal> {
        self.bytes.get(offset..).and_then(Endpoint::parse).ok_or(Refusal::BadEndpoint)
    }

    pub fn take_private_key(&mut self) -> Result<Key, Refusal> {
        self.take_key(0)
    }

    pub fn take_preshared_key(&mut self) -> Result<Option<Key>, Refusal> {
        let key = self.take_key(0)?;
        Ok(self.flag(32).then_some(key))
    }

    /// A public key, and a preshared key if there is one.
    pub fn take_keys(&mut self) -> Result<([u8; 32], Option<Key>), Refusal> {
        let public_key = *self.take_key(0)?;
        let preshared_key = self.take_key(32)?;
        Ok((public_key, self.flag(64).then_some(preshared_key)))
    }

    /// Copies a message out and wipes it here: it may hold a key.
    pub fn take_message(&mut self, length: usize) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        let place = self.bytes.get_mut(..length).ok_or(Refusal::CountTooLarge)?;
        let message = Zeroizing::new(place.to_vec());
        place.zeroize();
        Ok(message)
    }

    pub fn take_peer_settings(&mut self) -> Result<PeerSettings, Refusal> {
        let public_key = *self.take_key(0)?;
        let preshared_key = self.take_key(32)?;
        let endpoint = self.endpoint(64)?;
        let seconds = self.bytes.get(104..).and_then(<[u8]>::first_chunk).ok_or(Refusal::BadArgument)?;
        Ok(PeerSettings {
            public_key,
            preshared_key: self.flag(106).then_some(preshared_key),
            endpoint,
            persistent_seconds: u16::from_le_bytes(*seconds),
        })
    }

    pub fn read_endpoint(&self) -> Result<Endpoint, Refusal> {
        self.endpoint(0)
    }

    pub fn read_prefix(&self, family: u32, length: u32) -> Result<Prefix, Refusal> {
        let bytes: [u8; 16] = *self.bytes.first_chunk().ok_or(Refusal::BadPrefix)?;
        let address = match Version::parse(family).ok_or(Refusal::BadPrefix)? {
            Version::V4 => Address::v4(*bytes.first_chunk().ok_or(Refusal::BadPrefix)?),
            Version::V6 => Address::v6(bytes),
        };
        Prefix::new(address, length).ok_or(Refusal::BadPrefix)
    }

    /// Writes a result from the start of the block and returns its length.
    pub fn write(&mut self, result: &[u8]) -> i32 {
        let length = result.len().min(self.bytes.len());
        if let (Some(to), Some(from)) = (self.bytes.get_mut(..length), result.get(..length)) {
            to.copy_from_slice(from);
        }
        length as i32
    }

    pub fn write_status(&mut self, status: &PeerStatus) {
        let last = status.last_handshake.map_or(-1.0, |ms| ms as f64);
        let fields: [&[u8]; 5] = [
            &status.endpoint.encode(),
            &status.rx_bytes.to_le_bytes(),
            &status.tx_bytes.to_le_bytes(),
            &last.to_le_bytes(),
            &[u8::from(status.made_with_other)],
        ];
        self.write(&fields.concat());
    }

    pub fn write_filter_status(&mut self, status: &FilterStatus) {
        let fields = [
            u32::from(status.is_on),
            status.generation,
            status.rules as u32,
            status.flows as u32,
            status.capacity as u32,
            0,
            status.evicted as u32,
            (status.evicted >> 32) as u32,
        ];
        self.write(&fields.map(u32::to_le_bytes).concat());
    }

    /// Rows of drop counters from `start` on, and where to go on; returns how many.
    pub fn write_drops(&mut self, filter: &Filter, start: usize) -> i32 {
        let Some((head, rows)) = self.bytes.split_first_chunk_mut::<8>() else { return 0 };
        let (count, next) = filter.write_drops(start, rows);
        *head = (next as u64).to_le_bytes();
        count as i32
    }

    /// Rows of what was counted, in the same way.
    pub fn write_meters(&mut self, filter: &mut Filter, of_services: bool, start: usize) -> i32 {
        let Some((head, rows)) = self.bytes.split_first_chunk_mut::<8>() else { return 0 };
        let (count, next) = filter.write_meters(of_services, start, rows);
        *head = u64::from(next).to_le_bytes();
        count as i32
    }

    /// Puts in place of each of `count` addresses the peer it belongs to, `u32::MAX` for none. Returns how many have one.
    pub fn lookup(&mut self, family: u32, count: usize, table: &AllowedIps) -> Result<i32, Refusal> {
        let version = Version::parse(family).ok_or(Refusal::BadArgument)?;
        let (blocks, _) = self.bytes.as_chunks_mut::<16>();
        let blocks = blocks.get_mut(..count).ok_or(Refusal::CountTooLarge)?;
        let mut found = 0;
        for blocks in blocks.chunks_mut(LOOKUP_GROUP) {
            let mut addresses = [Address::v4([0; 4]); LOOKUP_GROUP];
            let mut peers = [NO_PEER; LOOKUP_GROUP];
            for (address, block) in addresses.iter_mut().zip(&*blocks) {
                let [a, b, c, d, ..] = *block;
                *address = match version {
                    Version::V4 => Address::v4([a, b, c, d]),
                    Version::V6 => Address::v6(*block),
                };
            }
            let (addresses, _) = addresses.split_at(blocks.len());
            let (peers, _) = peers.split_at_mut(blocks.len());
            table.lookup_all(addresses, peers);
            for (block, peer) in blocks.iter_mut().zip(&*peers) {
                found += i32::from(*peer != NO_PEER);
                block.iter_mut().zip(peer.to_le_bytes()).for_each(|(to, from)| *to = from);
            }
        }
        Ok(found)
    }

    /// Seals or opens what lies in the block, so that the AEAD of this very build can be held against vectors and
    /// timed from outside. Returns the bytes of text, or a refusal when the tag does not verify.
    pub fn aead(&mut self, seal: bool, aad_length: usize, text_length: usize) -> Result<i32, Refusal> {
        let key = self.take_key(0)?;
        let nonce: [u8; 12] =
            *self.bytes.get(32..).and_then(<[u8]>::first_chunk).ok_or(Refusal::BadArgument)?;
        let aad_end = AEAD_TEXT.checked_add(aad_length).ok_or(Refusal::BadArgument)?;
        let text_end = aad_end.checked_add(text_length).ok_or(Refusal::BadArgument)?;
        let end = text_end
            .checked_add(TAG_BYTES)
            .filter(|&end| end <= CONTROL_BYTES)
            .ok_or(Refusal::BadArgument)?;
        let block = self.bytes.get_mut(AEAD_TEXT..end).ok_or(Refusal::BadArgument)?;
        let (aad, sealed) = block.split_at_mut_checked(aad_length).ok_or(Refusal::BadArgument)?;
        let former = self.bound.take_if(|(bound, _)| *bound == key);
        let (_, key) = match former {
            Some(bound) => self.bound.insert(bound),
            None => {
                let unbound = UnboundKey::new(&CHACHA20_POLY1305, &*key).map_err(|_| Refusal::BadArgument)?;
                self.bound.insert((key, LessSafeKey::new(unbound)))
            }
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        if seal {
            let (text, place) = sealed.split_at_mut_checked(text_length).ok_or(Refusal::BadArgument)?;
            let tag = key
                .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
                .map_err(|_| Refusal::BadArgument)?;
            place.copy_from_slice(tag.as_ref());
        } else {
            key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| Refusal::BadArgument)?;
        }
        Ok(text_length as i32)
    }
}
