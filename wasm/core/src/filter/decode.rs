//! Changes of the policy as the host writes them. Its twin is `src/policy/encode.ts`.
//!
//! A change is a sequence of records of 64 bytes, little-endian, in any number of calls; nothing of it counts before
//! [`Staged::commit`], and then all of it does. Whatever is unknown, out of range or refers to what is not there makes the
//! change void as a whole: the policy stays as it was.
//!
//! ```text
//!  0 kind u8 │ 1…3 by kind │ 4 id u32 │ 8 a u32 │ 12 b u32 │ 16 c u32 │ … │ 32 address or key, 16 or 32 bytes │ 48 address
//!
//!   1 policy            1 rejects u8 │ 2 is whole u8 (1 = all parts that were there go)
//!   2 rule set          id: what follows as `rule` is in it, and it takes the place of the one there was
//!   3 rule              1 denies u8 │ 2 legs u8 (1 in, 2 out) │ 3 to u8 (0 any, 1 own, 2 internet, 4, 6) │ 4 to length u8 │
//!                       5 from u8 (0 any, 4, 6) │ 6 from length u8 │ 7 has protocol u8 │ 8 protocol u8 │ 9 has ports u8 │
//!                       10 first u16 │ 12 last u16 │ 16 rule id │ 32 to │ 48 from
//!   4 network           1 is strict u8 │ id │ a rule id
//!   5 subject           1 flags u8 (1 is peer, 2 reaches members) │ id │ a rule id by which it reaches peers, b the node,
//!                       c the internet (0 = not): what follows as 6, 7, 8, 17 is its
//!   6 its rule set      id
//!   7 its network       id
//!   8 its address       1 family u8 │ 2 length u8 │ 32 address
//!   9 peer              id │ a subject │ 32 public key: what follows as 10, 18 is its
//!  10 its site          1 family u8 │ 2 length u8 │ a subject │ 32 address
//!  11…14 away with a rule set, network, subject, peer: id
//!  15 not internet      1 family u8 (0 = forget those there were) │ 2 length u8 │ 32 address
//!  16 own address       as 15
//!  17 network behind a subject, as 8
//!  18 its limits        1 has quota u8 │ 8 rule id of the quota │ in bytes a second, 0 = none: 16 from it u64 │ 24 to it u64 │
//!                       32 past its quota u64 (0 = nothing passes)
//!  19 allowance         id of a peer │ 8 bytes u64 after which its quota is used up
//!  20 services          1 are counted u8 │ id of the rule set whose rows they are
//!  21 its exit            of a subject: id, of a peer
//! ```

use std::collections::HashMap;
use std::collections::HashSet;

use crate::allowed_ips::{AllowedIps, Prefix};
use crate::packet::address::{Address, Version};

use super::bucket::Rate;
use super::meters::{Limits, Quota};
use super::policy::{Network, OUTSIDE, PartId, Parts, PeerPart, Policy, SELF, Subject};
use super::rules::{Action, Destination, Rule, RuleSet};

pub const RECORD_BYTES: usize = 64;
/// More parts of one kind than any host has peers.
const MOST_PARTS: PartId = 1 << 20;

/// Why a change is void. The host has but one thing to do, so there is but one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Void;

/// New parts by number; None = it goes.
type Changes<T> = HashMap<PartId, Option<T>>;

/// A change being written. Indices are built here, record by record, so that a commit only puts things in their places.
#[derive(Default)]
pub struct Staged {
    is_void: bool,
    is_whole: bool,
    rejects: Option<bool>,
    rule_sets: Changes<RuleSet>,
    networks: Changes<Network>,
    subjects: Changes<Subject>,
    peers: Changes<PeerPart>,
    not_internet: Option<AllowedIps>,
    own: Option<AllowedIps>,
    allowances: HashMap<PartId, u64>,
    services: Option<Option<PartId>>,
    /// The parts that records belong to which follow.
    open_rule_set: Option<PartId>,
    open_subject: Option<PartId>,
    open_peer: Option<PartId>,
}

type Record = [u8; RECORD_BYTES];

fn byte(record: &Record, at: usize) -> u8 {
    record.get(at).copied().unwrap_or_default()
}

fn flag(record: &Record, at: usize) -> Result<bool, Void> {
    match byte(record, at) {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Void),
    }
}

fn half(record: &Record, at: usize) -> u16 {
    record.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn word(record: &Record, at: usize) -> u32 {
    record.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn double(record: &Record, at: usize) -> u64 {
    record.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Bytes a second; 0 = no rate.
fn rate(record: &Record, at: usize) -> Result<Option<Rate>, Void> {
    match double(record, at) {
        0 => Ok(None),
        bytes => Rate::new(bytes).map(Some).ok_or(Void),
    }
}

fn read_limits(record: &Record) -> Result<Limits, Void> {
    let (rule, over) = (word(record, 8), rate(record, 32)?);
    let quota = flag(record, 1)?.then_some(Quota { rule, over });
    if quota.is_some() != (rule != 0) {
        return Err(Void);
    }
    Ok(Limits { up: rate(record, 16)?, down: rate(record, 24)?, quota })
}

fn part(record: &Record, at: usize) -> Result<PartId, Void> {
    Some(word(record, at)).filter(|&id| id < MOST_PARTS).ok_or(Void)
}

/// A prefix whose family is 4 or 6. Bits beyond its length are void: the host cut them off, or it is not its own.
fn prefix(record: &Record, family: u8, length: u8, at: usize) -> Result<Prefix, Void> {
    let bytes: &[u8; 16] = record.get(at..).and_then(<[u8]>::first_chunk).ok_or(Void)?;
    let address = match Version::parse(u32::from(family)).ok_or(Void)? {
        Version::V4 => Address::v4(*bytes.first_chunk().ok_or(Void)?),
        Version::V6 => Address::v6(*bytes),
    };
    let prefix = Prefix::new(address, u32::from(length)).ok_or(Void)?;
    (prefix.bits() == address.bits).then_some(prefix).ok_or(Void)
}

fn read_rule(record: &Record) -> Result<Rule, Void> {
    let legs = byte(record, 2);
    let to = match byte(record, 3) {
        0 => Destination::Any,
        1 => Destination::Own,
        2 => Destination::Internet,
        family => Destination::Prefix(prefix(record, family, byte(record, 4), 32)?),
    };
    let from = match byte(record, 5) {
        0 => None,
        family => Some(prefix(record, family, byte(record, 6), 48)?),
    };
    let protocol = flag(record, 7)?.then_some(byte(record, 8));
    let ports = flag(record, 9)?.then_some((half(record, 10), half(record, 12)));
    let id = word(record, 16);
    let makes_sense = (1..=3).contains(&legs)
        && id != 0
        && ports.is_none_or(|(first, last)| first <= last && protocol.is_some_and(super::packet::has_ports));
    let action = if flag(record, 1)? { Action::Deny } else { Action::Allow };
    let rule = Rule { id, action, on_in: legs & 1 != 0, on_out: legs & 2 != 0, to, from, protocol, ports };
    makes_sense.then_some(rule).ok_or(Void)
}

fn open<T>(changes: &mut Changes<T>, id: Option<PartId>) -> Result<&mut T, Void> {
    id.and_then(|id| changes.get_mut(&id)).and_then(Option::as_mut).ok_or(Void)
}

impl Staged {
    /// Takes records in. After the first that is void all is, until the next change begins.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Void> {
        let (records, rest) = bytes.as_chunks::<RECORD_BYTES>();
        let taken = match self.is_void || !rest.is_empty() {
            true => Err(Void),
            false => records.iter().try_for_each(|record| self.take_record(record)),
        };
        self.is_void = taken.is_err();
        taken
    }

    fn take_record(&mut self, record: &Record) -> Result<(), Void> {
        let id = part(record, 4);
        match byte(record, 0) {
            1 => {
                self.rejects = Some(flag(record, 1)?);
                self.is_whole |= flag(record, 2)?;
            }
            2 => {
                self.open_rule_set = Some(id?);
                self.rule_sets.insert(id?, Some(RuleSet::default()));
            }
            3 => open(&mut self.rule_sets, self.open_rule_set)?.push(read_rule(record)?),
            4 => {
                let network = Network { is_strict: flag(record, 1)?, rule: word(record, 8) };
                self.networks.insert(id?, Some(network));
            }
            5 => {
                self.open_subject = Some(id?);
                self.subjects.insert(id?, Some(read_subject(record)?));
            }
            6 => open(&mut self.subjects, self.open_subject)?.rule_sets.push(id?),
            7 => open(&mut self.subjects, self.open_subject)?.networks.push(id?),
            8 | 17 => {
                let address = prefix(record, byte(record, 1), byte(record, 2), 32)?;
                let subject = open(&mut self.subjects, self.open_subject)?;
                let is_behind = byte(record, 0) == 17;
                if is_behind { &mut subject.behind } else { &mut subject.addresses }.push(address);
            }
            9 => {
                let public_key = *record.last_chunk().ok_or(Void)?;
                let subject = part(record, 8)?;
                let peer = PeerPart { public_key, subject, sites: Vec::new(), limits: Limits::default() };
                self.open_peer = Some(id?);
                self.peers.insert(id?, Some(peer));
            }
            10 => {
                let site = prefix(record, byte(record, 1), byte(record, 2), 32)?;
                open(&mut self.peers, self.open_peer)?.sites.push((site, part(record, 8)?));
            }
            11 => drop(self.rule_sets.insert(id?, None)),
            12 => drop(self.networks.insert(id?, None)),
            13 => drop(self.subjects.insert(id?, None)),
            14 => drop(self.peers.insert(id?, None)),
            15 => put_prefix(&mut self.not_internet, record)?,
            16 => put_prefix(&mut self.own, record)?,
            18 => open(&mut self.peers, self.open_peer)?.limits = read_limits(record)?,
            19 => drop(self.allowances.insert(id?, double(record, 8))),
            20 => self.services = Some(flag(record, 1)?.then_some(id?)),
            21 => open(&mut self.subjects, self.open_subject)?.exit = Some(id?),
            _ => return Err(Void),
        }
        Ok(())
    }

    /// Makes the change current, all of it or nothing.
    pub fn commit(self, policy: &mut Policy) -> Result<(), Void> {
        if self.is_void || !self.is_sound(policy) {
            return Err(Void);
        }
        let Staged { is_whole, rejects, rule_sets, networks, subjects, peers, .. } = self;
        let Staged { not_internet, own, allowances, services, .. } = self;
        if is_whole {
            let own = std::mem::replace(&mut policy.own, AllowedIps::new());
            *policy = Policy { own, ..Policy::new() };
        }
        policy.rejects = rejects.unwrap_or(policy.rejects);
        policy.not_internet = not_internet.unwrap_or_else(|| take(&mut policy.not_internet));
        policy.own = own.unwrap_or_else(|| take(&mut policy.own));
        for (id, set) in rule_sets {
            policy.rule_sets.set(id, set);
        }
        for (id, network) in networks {
            policy.networks.set(id, network);
        }
        put_subjects(policy, subjects);
        put_peers(policy, peers);
        policy.allowances.extend(allowances);
        policy.services = services.unwrap_or(policy.services);
        policy.has_exits = policy.subjects.iter().any(|(_, subject)| subject.exit.is_some());
        Ok(())
    }

    /// Whether all that is referred to is there once the change is made.
    fn is_sound(&self, policy: &Policy) -> bool {
        let rule_sets = Numbers::after(&policy.rule_sets, &self.rule_sets, self.is_whole);
        let networks = Numbers::after(&policy.networks, &self.networks, self.is_whole);
        let subjects = Numbers::after(&policy.subjects, &self.subjects, self.is_whole);
        let peers = Numbers::after(&policy.peers, &self.peers, self.is_whole);
        let refers = |subject: &Subject| {
            subject.rule_sets.iter().all(|&id| rule_sets.has(id))
                && subject.networks.iter().all(|&id| networks.has(id))
                && subject.exit.is_none_or(|id| peers.has(id))
        };
        let belongs = |peer: &PeerPart| {
            subjects.has(peer.subject) && peer.sites.iter().all(|&(_, subject)| subjects.has(subject))
        };
        let peers = Numbers::after(&policy.peers, &self.peers, self.is_whole);
        let former_services = if self.is_whole { None } else { policy.services };
        subjects.has(SELF)
            && self.services.unwrap_or(former_services).is_none_or(|id| rule_sets.has(id))
            && self.allowances.keys().all(|&id| peers.has(id))
            && subjects.has(OUTSIDE)
            && self.subjects.values().flatten().all(refers)
            && self.peers.values().flatten().all(belongs)
            // Those that stay may refer to what goes.
            && (!rule_sets.loses() && !networks.loses() && !peers.loses()
                || subjects.that_stay().all(|(_, subject)| refers(subject)))
            && (!subjects.loses() || peers.that_stay().all(|(_, peer)| belongs(peer)))
    }
}

/// The numbers of one kind of part as they are after a change.
struct Numbers<'a, T> {
    now: &'a Parts<T>,
    changes: &'a Changes<T>,
    is_whole: bool,
}

impl<'a, T> Numbers<'a, T> {
    fn after(now: &'a Parts<T>, changes: &'a Changes<T>, is_whole: bool) -> Self {
        Numbers { now, changes, is_whole }
    }

    fn has(&self, id: PartId) -> bool {
        match self.changes.get(&id) {
            Some(change) => change.is_some(),
            None => !self.is_whole && self.now.get(id).is_some(),
        }
    }

    fn loses(&self) -> bool {
        self.is_whole || self.changes.values().any(Option::is_none)
    }

    fn that_stay(&self) -> impl Iterator<Item = (PartId, &'a T)> {
        let (changes, is_whole) = (self.changes, self.is_whole);
        self.now.iter().filter(move |(id, _)| !is_whole && !changes.contains_key(id))
    }
}

fn take(table: &mut AllowedIps) -> AllowedIps {
    std::mem::replace(table, AllowedIps::new())
}

fn read_subject(record: &Record) -> Result<Subject, Void> {
    let flags = byte(record, 1);
    let subject = Subject {
        is_peer: flags & 1 != 0,
        reaches_members: flags & 2 != 0,
        reaches_peers: word(record, 8),
        reaches_node: word(record, 12),
        internet: word(record, 16),
        ..Subject::default()
    };
    (flags <= 3).then_some(subject).ok_or(Void)
}

fn put_prefix(table: &mut Option<AllowedIps>, record: &Record) -> Result<(), Void> {
    match byte(record, 1) {
        0 => *table = Some(AllowedIps::new()),
        family => table.as_mut().ok_or(Void)?.insert(prefix(record, family, byte(record, 2), 32)?, 0),
    }
    Ok(())
}

/// First all addresses are taken back, then given: one may have moved from one subject to another.
fn put_subjects(policy: &mut Policy, subjects: Changes<Subject>) {
    let mut gone = Vec::new();
    let mut ids = HashSet::new();
    for (id, subject) in subjects {
        gone.extend(policy.subjects.set(id, subject).map(|former| (id, former)));
        ids.insert(id);
    }
    for (id, former) in &gone {
        for &address in &former.addresses {
            policy.addresses.remove(address, *id);
            policy.sources.remove(address, *id);
        }
        for &network in &former.behind {
            policy.sources.remove(network, *id);
        }
    }
    for id in ids {
        let Some(subject) = policy.subjects.get(id) else { continue };
        for &address in &subject.addresses {
            policy.addresses.insert(address, id);
            policy.sources.insert(address, id);
        }
        for &network in &subject.behind {
            policy.sources.insert(network, id);
        }
    }
}

fn put_peers(policy: &mut Policy, peers: Changes<PeerPart>) {
    let mut keys = Vec::new();
    for (id, peer) in peers {
        keys.extend(peer.as_ref().map(|peer| (peer.public_key, id)));
        if peer.is_none() {
            policy.allowances.remove(&id);
        }
        if let Some(former) = policy.peers.set(id, peer)
            && policy.by_key.get(&former.public_key) == Some(&id)
        {
            policy.by_key.remove(&former.public_key);
        }
    }
    policy.by_key.extend(keys);
}
