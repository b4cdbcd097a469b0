//! The device: who we are, who our peers are, and the tables between them. The walks over a batch are in
//! `inbound.rs` and `outbound.rs`; this file adds, removes and looks up.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::admission::FormerPeers;
use crate::allowed_ips::{AllowedIps, Prefix};
use crate::arena::{Intake, SendQueue};
use crate::control::Key;
use crate::counters::{Counters, DropReason};
use crate::filter::Filter;
use crate::handshake_gate::{self, Identity};
use crate::handshakes::Gate;
use crate::host;
use crate::index_table::IndexTable;
use crate::packet::address::Endpoint;
use crate::peer::{Peer, PeerStatus, Shared};
use crate::staging::StagingBudget;
use crate::talk::{self, Heard};
use crate::ways::{Own, Way, Which};
use crate::write_arena::WriteArena;

/// Why the core refused a call: a bug of the host, or a configuration it should have caught. Append only.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    CountTooLarge = -1,
    NoSuchPeer = -2,
    PeerExists = -3,
    OwnKey = -4,
    LowOrderKey = -5,
    BadPrefix = -6,
    BadEndpoint = -7,
    TooManyPeers = -8,
    BadArgument = -9,
    BadPolicy = -10,
}

/// Initiations one tick may start. Each costs two Diffie-Hellman, about half a millisecond: more would be
/// felt by the data that waits behind them. A tick that full is followed by the next at once: `src/lane/worker.ts`.
const INITIATIONS_PER_TICK: usize = 24;
/// Peers a device may have: more than its memory holds, and so few among 2^24 index bases that a free one is soon found.
const MAX_PEERS: usize = 1 << 20;
/// Send slots that stay free for what one more peer may have to say: all that it staged.
pub const SEND_RESERVE: usize = 130;

pub struct Device {
    pub write: WriteArena,
    pub shared: Shared,
    pub gate: Gate,
    pub allowed_ips: AllowedIps,
    /// What peers have said to the host.
    pub heard: Heard,
    pub filter: Filter,
    pub(crate) peers: Vec<Option<Box<Peer>>>,
    free: Vec<u32>,
    pub(crate) by_key: HashMap<[u8; 32], u32>,
    former_peers: FormerPeers,
    tick_cursor: usize,
    /// Frames that the last `outbound` or `release` left in the write column.
    pub(crate) answers: usize,
    pub(crate) mtu: usize,
}

/// What a new peer is made of.
pub struct PeerSettings {
    pub public_key: [u8; 32],
    pub preshared_key: Option<Key>,
    pub endpoint: Endpoint,
    pub persistent_seconds: u16,
}

thread_local! {
    static DEVICE: RefCell<Option<(Device, Intake)>> = const { RefCell::new(None) };
}

/// Runs `work` on the one device of this core, made on first use.
pub fn with<R>(work: impl FnOnce(&mut Device) -> R) -> R {
    with_intake(|device, _| work(device))
}

/// The same, with what the host has filled in.
pub fn with_intake<R>(work: impl FnOnce(&mut Device, &mut Intake) -> R) -> R {
    DEVICE.with_borrow_mut(|pair| {
        let (device, intake) = pair.get_or_insert_with(|| (Device::new(), Intake::new()));
        work(device, intake)
    })
}

impl Device {
    pub fn new() -> Self {
        Device {
            write: WriteArena::new(),
            shared: Shared {
                send: SendQueue::new(),
                counters: Counters::new(),
                staging: StagingBudget::new(),
                initiations: 0,
                identity: None,
                next_identity: None,
                indices: IndexTable::new(),
            },
            gate: Gate::new(),
            allowed_ips: AllowedIps::new(),
            heard: Heard::default(),
            filter: Filter::new(),
            peers: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            former_peers: FormerPeers::default(),
            tick_cursor: 0,
            answers: 0,
            mtu: 0,
        }
    }

    /// Makes `private` our key, zeros meaning none. The same key again changes nothing; with another one every peer
    /// shakes hands anew. Refused while a peer has our public key: the host decides which of the two goes.
    pub fn set_identity(&mut self, private: &[u8; 32]) -> Result<(), Refusal> {
        let identity = (*private != [0; 32]).then(|| Identity::new(*private));
        if identity.as_ref().map(Identity::public) == self.shared.identity.as_ref().map(Identity::public) {
            return Ok(());
        }
        if identity.as_ref().is_some_and(|new| self.by_key.contains_key(new.public())) {
            return Err(Refusal::OwnKey);
        }
        self.shared.identity = identity;
        for peer in self.peers.iter_mut().flatten() {
            peer.renew_tunnel(&mut self.shared);
        }
        Ok(())
    }

    /// Makes `private` the key pair that is to follow ours, zeros meaning none: initiations to it are answered as well, and
    /// each peer that has one set of keys gets a second with it.
    pub fn set_next_identity(&mut self, private: &[u8; 32]) -> Result<(), Refusal> {
        let next = (*private != [0; 32]).then(|| Identity::new(*private));
        if next.as_ref().map(Identity::public) == self.shared.next_identity.as_ref().map(Identity::public) {
            return Ok(());
        }
        if let Some(next) = &next
            && (self.by_key.contains_key(next.public())
                || self.shared.identity.as_ref().is_some_and(|own| own.public() == next.public()))
        {
            return Err(Refusal::OwnKey);
        }
        for peer in self.peers.iter_mut().flatten() {
            peer.settle_identity(Which::First, &mut self.shared);
        }
        self.shared.next_identity = next;
        if self.shared.next_identity.is_some() {
            for peer in self.peers.iter_mut().flatten() {
                peer.add_next_identity(&mut self.shared);
            }
        }
        Ok(())
    }

    /// The key pair that was to follow ours is ours from now on, and the former one is no more.
    pub fn adopt_next_identity(&mut self) -> Result<(), Refusal> {
        let next = self.shared.next_identity.take().ok_or(Refusal::BadArgument)?;
        self.shared.identity = Some(next);
        for peer in self.peers.iter_mut().flatten() {
            peer.settle_identity(Which::Other, &mut self.shared);
        }
        Ok(())
    }

    /// Gives a peer a second set of keys, in the place of another second set. The same again changes nothing.
    pub fn add_keys(
        &mut self,
        id: u32,
        public_key: [u8; 32],
        preshared_key: Option<Key>,
    ) -> Result<(), Refusal> {
        if [&self.shared.identity, &self.shared.next_identity]
            .into_iter()
            .flatten()
            .any(|own| *own.public() == public_key)
        {
            return Err(Refusal::OwnKey);
        }
        if handshake_gate::is_low_order(&public_key) {
            return Err(Refusal::LowOrderKey);
        }
        if self.by_key.get(&public_key).is_some_and(|&owner| owner != id) {
            return Err(Refusal::PeerExists);
        }
        self.forget_other_key(id)?;
        let admission = self.former_peers.take(&public_key);
        let (peer, shared) = self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        peer.add_keys(Way::new(Own::Current, public_key, preshared_key, admission), shared);
        self.by_key.insert(public_key, id);
        self.filter.add_key(id, public_key);
        Ok(())
    }

    pub fn prefer_other_keys(&mut self, id: u32) -> Result<(), Refusal> {
        self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?.0.prefer_other_keys();
        Ok(())
    }

    /// Keeps one of a peer's two sets of keys. Where it has one, nothing changes. A next key pair of ours gives it another.
    pub fn settle_keys(&mut self, id: u32, kept: Which) -> Result<(), Refusal> {
        match kept {
            Which::First => self.forget_other_key(id)?,
            Which::Other => {
                let (peer, _) = self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
                if peer.other_public_key().is_some() {
                    let (key, admission) = (*peer.public_key(), peer.admissions().next());
                    self.by_key.remove(&key);
                    if let Some((key, admission)) = admission {
                        self.former_peers.keep(key, admission);
                    }
                }
            }
        }
        let (peer, shared) = self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        peer.settle_keys(kept, shared);
        if shared.next_identity.is_some() {
            peer.add_next_identity(shared);
        }
        Ok(())
    }

    fn forget_other_key(&mut self, id: u32) -> Result<(), Refusal> {
        let (peer, _) = self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        if let Some(key) = peer.other_public_key().copied() {
            self.by_key.remove(&key);
        }
        Ok(())
    }

    /// A handshake with the next tick, also where there is a good session.
    pub fn renew_session(&mut self, id: u32) -> Result<(), Refusal> {
        self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?.0.renew();
        Ok(())
    }

    pub fn probe_endpoint(&mut self, id: u32, endpoint: Endpoint) -> Result<(), Refusal> {
        self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?.0.probe(endpoint);
        Ok(())
    }

    /// Says something to the host of a peer. Returns the messages to send.
    pub fn say(&mut self, id: u32, message: &[u8]) -> Result<usize, Refusal> {
        let now = host::now();
        self.shared.send.clear();
        let packet = talk::frame(message).ok_or(Refusal::CountTooLarge)?;
        let (peer, shared) = self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        peer.send(&packet, now, shared);
        Ok(self.shared.send.count())
    }

    /// Makes a change of the policy current, whole, or nothing of it.
    pub fn commit_policy(&mut self) -> Result<(), Refusal> {
        self.filter.commit(&self.by_key).map(|_| ()).map_err(|_| Refusal::BadPolicy)
    }

    /// Which offloads the host has: trains of datagrams, and superpackets of TCP and UDP into the TUN device.
    pub fn set_offloads(&mut self, trains: bool, tcp: bool, udp: bool) {
        self.shared.send.send_trains(trains);
        self.write.coalescer.allow(tcp, udp);
    }

    /// Packets are padded up to this length and no further.
    pub fn set_mtu(&mut self, mtu: usize) {
        self.mtu = mtu;
    }

    /// Adds a peer and returns its id, which may be used again after it is removed.
    pub fn add_peer(&mut self, settings: PeerSettings) -> Result<u32, Refusal> {
        let own = [&self.shared.identity, &self.shared.next_identity];
        if own.into_iter().flatten().any(|own| settings.public_key == *own.public()) {
            return Err(Refusal::OwnKey);
        }
        if handshake_gate::is_low_order(&settings.public_key) {
            return Err(Refusal::LowOrderKey);
        }
        if self.by_key.contains_key(&settings.public_key) {
            return Err(Refusal::PeerExists);
        }
        if self.by_key.len() >= MAX_PEERS {
            return Err(Refusal::TooManyPeers);
        }
        let id = self.free.last().copied().unwrap_or(self.peers.len() as u32);
        self.by_key.insert(settings.public_key, id);
        self.filter.add_peer(id, settings.public_key);
        let admission = self.former_peers.take(&settings.public_key);
        let mut peer = Box::new(Peer::new(id, settings, admission, host::now()));
        if self.shared.next_identity.is_some() {
            peer.add_next_identity(&mut self.shared);
        }
        match self.free.pop().and_then(|free| self.peers.get_mut(free as usize)) {
            Some(slot) => *slot = Some(peer),
            None => self.peers.push(Some(peer)),
        }
        Ok(id)
    }

    pub fn remove_peer(&mut self, id: u32) -> Result<(), Refusal> {
        let slot = self.peers.get_mut(id as usize).ok_or(Refusal::NoSuchPeer)?;
        let mut peer = slot.take().ok_or(Refusal::NoSuchPeer)?;
        peer.release(&mut self.shared);
        for (key, admission) in peer.admissions() {
            self.by_key.remove(&key);
            self.former_peers.keep(key, admission);
        }
        self.allowed_ips.remove_peer(id);
        let waited = self.filter.remove_peer(id);
        self.shared.counters.drop_many(DropReason::OverRate, waited);
        self.free.push(id);
        Ok(())
    }

    pub fn set_endpoint(&mut self, id: u32, endpoint: Endpoint) -> Result<(), Refusal> {
        self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?.0.set_endpoint(endpoint);
        Ok(())
    }

    /// The same key again changes nothing.
    pub fn set_preshared_key(&mut self, id: u32, key: Option<Key>) -> Result<(), Refusal> {
        let (peer, shared) = self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        peer.set_preshared_key(key, shared);
        Ok(())
    }

    pub fn set_keepalive(&mut self, id: u32, seconds: u16) -> Result<(), Refusal> {
        let (peer, _) = self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        peer.set_keepalive(seconds, host::now());
        Ok(())
    }

    pub fn allow(&mut self, id: u32, prefix: Prefix) -> Result<(), Refusal> {
        self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        self.allowed_ips.insert(prefix, id);
        Ok(())
    }

    pub fn disallow(&mut self, id: u32, prefix: Prefix) -> Result<bool, Refusal> {
        self.peer_and_shared(id).ok_or(Refusal::NoSuchPeer)?;
        Ok(self.allowed_ips.remove(prefix, id))
    }

    pub fn status(&self, id: u32) -> Result<PeerStatus, Refusal> {
        let peer = self.peers.get(id as usize).and_then(Option::as_ref).ok_or(Refusal::NoSuchPeer)?;
        Ok(peer.status())
    }

    /// A peer, and what it needs to answer.
    pub fn peer_and_shared(&mut self, id: u32) -> Option<(&mut Peer, &mut Shared)> {
        let peer = self.peers.get_mut(id as usize)?.as_mut()?;
        Some((peer, &mut self.shared))
    }

    /// Does what time alone makes due, peer by peer. Returns the messages to send; stops early when it has started
    /// enough handshakes or filled the column, and goes on there the next time.
    pub fn tick(&mut self) -> usize {
        let now = host::now();
        self.shared.send.clear();
        self.shared.initiations = 0;
        self.filter.sweep(now);
        for _ in 0..self.peers.len() {
            if self.shared.initiations >= INITIATIONS_PER_TICK || self.shared.send.free() < SEND_RESERVE {
                break;
            }
            self.tick_cursor = (self.tick_cursor + 1) % self.peers.len();
            if let Some(Some(peer)) = self.peers.get_mut(self.tick_cursor) {
                peer.advance(now, &mut self.shared);
            }
        }
        self.shared.send.count()
    }

    /// The host sent the first `count` messages of the column and had to drop the source address of some: their
    /// peers forget it too.
    pub fn stale_sources(&mut self, count: usize) {
        let Device { shared, peers, .. } = self;
        for entry in shared.send.column.iter().take(count).filter(|entry| entry.status == 1) {
            if let Some(Some(peer)) = peers.get_mut(entry.peer as usize) {
                peer.forget_source();
            }
        }
    }
}
