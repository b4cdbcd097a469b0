//! The policy as the core holds it: parts by number that refer to each other by number, and how a flow is judged by them. The
//! order of judgement is written out in `src/policy/compiled.ts`; `decode.rs` changes the parts.

use std::collections::HashMap;

use crate::allowed_ips::{AllowedIps, Prefix};
use crate::packet::address::Address;

use super::Leg;
use super::meters::Limits;
use super::rules::{Action, Attempt, Place, RuleId, RuleSet};

/// The number of a part among those of its kind: dense, chosen by the host.
pub type PartId = u32;
/// The subject that is this node, and the one that is everybody whom no addresses tell.
pub const SELF: PartId = 0;
pub const OUTSIDE: PartId = 1;

/// What decided, in the order of judgement. Its twin is `DECIDERS` in `src/policy/compiled.ts`.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Deny,
    Isolation,
    Grant,
    Network,
    Internet,
    Default,
    /// None of the judgement: the quota of the peer is used up.
    Quota,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    pub allows: bool,
    pub stage: Stage,
    pub rule: RuleId,
}

impl Default for Decision {
    fn default() -> Self {
        Decision::DEFAULT
    }
}

impl Decision {
    /// What holds for whoever has no grant, and before there is a policy.
    pub const DEFAULT: Decision = Decision { allows: false, stage: Stage::Default, rule: 0 };

    fn allow(stage: Stage, rule: RuleId) -> Decision {
        Decision { allows: true, stage, rule }
    }

    fn deny(stage: Stage, rule: RuleId) -> Decision {
        Decision { allows: false, stage, rule }
    }
}

#[derive(Clone, Copy)]
pub struct Network {
    pub rule: RuleId,
    pub is_strict: bool,
}

/// Who opens flows, and to whom they are opened. What is limited and counted is so by tunnel: `meters.rs`.
#[derive(Default)]
pub struct Subject {
    pub rule_sets: Vec<PartId>,
    /// Who it is: what a packet to one of these is to, and what a packet out from one is from.
    pub addresses: Vec<Prefix>,
    /// What is behind it: a packet out from there is from it, a packet to there is not to it.
    pub behind: Vec<Prefix>,
    pub networks: Vec<PartId>,
    pub is_peer: bool,
    pub reaches_members: bool,
    /// 0 = not by this.
    pub reaches_peers: RuleId,
    pub reaches_node: RuleId,
    pub internet: RuleId,
    /// The peer that its flows to the internet leave by; None = by this host.
    pub exit: Option<PartId>,
}

pub struct PeerPart {
    pub public_key: [u8; 32],
    pub subject: PartId,
    pub sites: Vec<(Prefix, PartId)>,
    pub limits: Limits,
}

/// Parts of one kind by number.
pub struct Parts<T>(Vec<Option<T>>);

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Parts(Vec::new())
    }
}

impl<T> Parts<T> {
    pub fn get(&self, id: PartId) -> Option<&T> {
        self.0.get(id as usize)?.as_ref()
    }

    /// Puts a part in its place, or takes it away, and returns what was there. The number has been checked.
    pub fn set(&mut self, id: PartId, part: Option<T>) -> Option<T> {
        let place = id as usize;
        if place >= self.0.len() {
            part.as_ref()?;
            self.0.resize_with(place + 1, || None);
        }
        std::mem::replace(self.0.get_mut(place)?, part)
    }

    pub fn iter(&self) -> impl Iterator<Item = (PartId, &T)> {
        self.0.iter().enumerate().filter_map(|(id, part)| Some((id as PartId, part.as_ref()?)))
    }
}

pub struct Policy {
    pub rejects: bool,
    pub rule_sets: Parts<RuleSet>,
    pub networks: Parts<Network>,
    pub subjects: Parts<Subject>,
    pub peers: Parts<PeerPart>,
    /// Public key → number of the peer's part.
    pub by_key: HashMap<[u8; 32], PartId>,
    /// Part of a peer → bytes after which its quota is used up; none = it is.
    pub allowances: HashMap<PartId, u64>,
    /// The rule set that tells by which service a flow is counted.
    pub services: Option<PartId>,
    /// Address → subject: whom a packet is to.
    pub addresses: AllowedIps,
    /// The same with what is behind them: whom a packet on leg out is from.
    pub sources: AllowedIps,
    pub not_internet: AllowedIps,
    /// Of this host.
    pub own: AllowedIps,
    /// Whether any subject has an exit: what a packet is asked where none has.
    pub has_exits: bool,
}

impl Policy {
    pub fn new() -> Policy {
        Policy {
            rejects: false,
            rule_sets: Parts::default(),
            networks: Parts::default(),
            subjects: Parts::default(),
            peers: Parts::default(),
            by_key: HashMap::new(),
            allowances: HashMap::new(),
            services: None,
            addresses: AllowedIps::new(),
            sources: AllowedIps::new(),
            not_internet: AllowedIps::new(),
            own: AllowedIps::new(),
            has_exits: false,
        }
    }

    pub fn is_own(&self, address: Address) -> bool {
        self.own.lookup(address).is_some()
    }

    pub fn is_internet(&self, address: Address) -> bool {
        !self.is_own(address) && self.not_internet.lookup(address).is_none()
    }

    /// Whether a packet from `peer` comes from the internet, to somebody whose exit this peer is: such a packet may be an
    /// answer, and opens nothing.
    pub fn is_from_exit(&self, peer: PartId, source: Address, destination: Address) -> bool {
        let user = self.sources.lookup(destination).and_then(|id| self.subjects.get(id));
        user.is_some_and(|user| user.exit == Some(peer))
            && !self.is_own(destination)
            && self.is_internet(source)
    }

    pub fn rule_count(&self) -> usize {
        self.rule_sets.iter().map(|(_, set)| set.count()).sum()
    }

    /// Who opens the flow. `peer` is the part of the peer at the other end of the tunnel, if it has one.
    pub fn subject_of(&self, peer: Option<PartId>, attempt: &Attempt) -> Option<PartId> {
        match attempt.leg {
            Leg::In if self.has_exits && self.is_from_exit(peer?, attempt.source, attempt.destination) => {
                Some(OUTSIDE)
            }
            Leg::In => {
                let peer = self.peers.get(peer?)?;
                let sites = peer.sites.iter().filter(|(prefix, _)| prefix.contains(attempt.source));
                let site = sites.max_by_key(|(prefix, _)| prefix.length());
                Some(site.map_or(peer.subject, |&(_, subject)| subject))
            }
            Leg::Out if self.is_own(attempt.source) => Some(SELF),
            Leg::Out => Some(self.sources.lookup(attempt.source).unwrap_or(OUTSIDE)),
        }
    }

    /// Judges the first packet of a flow, or a live flow anew.
    pub fn judge(&self, subject: Option<PartId>, attempt: &Attempt) -> Decision {
        let Some(subject) = subject.and_then(|id| self.subjects.get(id)) else { return Decision::DEFAULT };
        let is_own = self.is_own(attempt.destination);
        let is_internet = self.is_internet(attempt.destination);
        let place = Place { is_own, is_internet };
        if let Some(rule) = self.first_rule(subject, Action::Deny, attempt, place) {
            return Decision::deny(Stage::Deny, rule);
        }
        // Whom it is to, as far as membership is concerned.
        let other = if is_own { None } else { self.addresses.lookup(attempt.destination) };
        let other = other.and_then(|id| self.subjects.get(id)).filter(|other| other.is_peer);
        if let Some(rule) = other.and_then(|other| self.isolation(subject, other)) {
            return Decision::deny(Stage::Isolation, rule);
        }
        if let Some(rule) = self.first_rule(subject, Action::Allow, attempt, place) {
            return Decision::allow(Stage::Grant, rule);
        }
        if let Some(rule) = self.membership(subject, other, is_own) {
            return Decision::allow(Stage::Network, rule);
        }
        if is_internet && subject.internet != 0 {
            return Decision::allow(Stage::Internet, subject.internet);
        }
        Decision::DEFAULT
    }

    /// What a peer is limited to, and its allowance.
    pub fn limits_of(&self, peer: Option<PartId>) -> (Limits, u64) {
        let part = peer.and_then(|id| Some((id, self.peers.get(id)?)));
        part.map_or((Limits::default(), 0), |(id, part)| {
            (part.limits, self.allowances.get(&id).copied().unwrap_or_default())
        })
    }

    /// The row of the service that a flow is counted by. One that only passes by on its way from peer to peer was counted
    /// where it came in.
    pub fn service_of(&self, subject: PartId, attempt: &Attempt) -> Option<RuleId> {
        let services = self.rule_sets.get(self.services?)?;
        let place = Place { is_own: false, is_internet: false };
        let is_counted = attempt.leg == Leg::In || matches!(subject, SELF | OUTSIDE);
        services.find(Action::Allow, attempt, place).filter(|_| is_counted).map(|rule| rule.id)
    }

    fn first_rule(
        &self,
        subject: &Subject,
        action: Action,
        attempt: &Attempt,
        place: Place,
    ) -> Option<RuleId> {
        let mut sets = subject.rule_sets.iter().filter_map(|&id| self.rule_sets.get(id));
        sets.find_map(|set| set.find(action, attempt, place)).map(|rule| rule.id)
    }

    /// The strict network that only one of two overlay peers is in.
    fn isolation(&self, subject: &Subject, other: &Subject) -> Option<RuleId> {
        if !subject.is_peer {
            return None;
        }
        let apart = |ours: &Subject, theirs: &Subject| {
            let mut networks = ours.networks.iter().filter(|id| !theirs.networks.contains(id));
            networks.find_map(|&id| self.networks.get(id).filter(|network| network.is_strict))
        };
        apart(subject, other).or_else(|| apart(other, subject)).map(|network| network.rule)
    }

    fn membership(&self, subject: &Subject, other: Option<&Subject>, is_own: bool) -> Option<RuleId> {
        let by_row = |rule: RuleId| (rule != 0).then_some(rule);
        if is_own {
            return by_row(subject.reaches_node);
        }
        let other = other?;
        let mut shared = subject.networks.iter().filter(|id| other.networks.contains(id));
        let network = shared.next().filter(|_| subject.reaches_members).and_then(|&id| self.networks.get(id));
        network.map(|network| network.rule).or_else(|| by_row(subject.reaches_peers))
    }
}
