//! The internet of one peer by way of another: `route_via`. Such a packet is turned round in the core: in through one tunnel,
//! out through the other, judged at both, and never given to the host. So it can leave by no other way, whatever the host's
//! routes say, and with an exit that is not there it goes nowhere. The walk is `relay.rs`.

use crate::counters::DropReason;
use crate::host::Millis;
use crate::packet::address::{Address, Version};
use crate::packet::ip::IpHeader;

use super::flow_table::{Flow, ticks};
use super::keys::{attempt_of, key_of};
use super::meters::Passed;
use super::packet::Packet;
use super::policy::PartId;
use super::walk::Case;
use super::{Filter, Leg};

/// Where a packet goes on that has come in from a peer and may pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Onward {
    /// To this host.
    Host,
    /// To the exit of who opened its flow: the peer with this id.
    Exit(u32),
    /// Back from an exit, to the peer that its destination is routed to.
    Back,
}

impl Filter {
    /// Whether a packet of `peer` may have a source that is not among its allowed IPs: an exit answers for the internet, to
    /// those who use it.
    pub fn answers_for_internet(&self, peer: u32, header: &IpHeader) -> bool {
        self.is_on
            && self.policy.has_exits
            && self
                .part(peer)
                .is_some_and(|part| self.policy.is_from_exit(part, header.source, header.destination))
    }

    /// [`Filter::pass`] on leg in, and where the packet goes on.
    pub fn admit(&mut self, peer: u32, bytes: &[u8], now: Millis) -> Result<(Onward, Passed), DropReason> {
        if !self.is_on {
            return Ok((Onward::Host, Passed::default()));
        }
        if let Some(passed) = self.pass_known(Leg::In, peer, bytes, now) {
            return Ok((Onward::Host, passed)); // nobody has an exit
        }
        let (place, passed) = self.pass_by(Leg::In, peer, false, bytes, now)?;
        Ok((self.onward(peer, place)?, passed))
    }

    /// Where a packet from `peer` goes on that was admitted and had to wait since. A piece of a datagram or an ICMP error is of
    /// no flow that could be found by it alone: where some leave by exits, it goes nowhere.
    pub fn onward_late(&self, peer: u32, bytes: &[u8], now: Millis) -> Result<Onward, DropReason> {
        if !self.is_on || !self.policy.has_exits {
            return Ok(Onward::Host);
        }
        let packet = Packet::parse(bytes)?;
        let key = key_of(Leg::In, &packet, self.flows.tunnel(peer));
        self.onward(peer, self.flows.find(&key, ticks(now)).ok_or(DropReason::NoFlow)?)
    }

    /// Where a packet from `peer` goes on, of the flow in this place.
    fn onward(&self, peer: u32, place: usize) -> Result<Onward, DropReason> {
        if !self.policy.has_exits {
            return Ok(Onward::Host);
        }
        match self.flows.get(place).and_then(|flow| Some((flow, self.exit_of(flow)?))) {
            // Nobody else is asked when the exit is not there.
            Some((Flow { leg: Leg::In, .. }, exit)) => {
                let found = self.exits.iter().find(|&&(part, _)| part == exit);
                found.map(|&(_, id)| Onward::Exit(id)).ok_or(DropReason::NoRoute)
            }
            Some((Flow { leg: Leg::Out, .. }, exit)) if self.part(peer) == Some(exit) => Ok(Onward::Back),
            _ => Ok(Onward::Host),
        }
    }

    /// Whether a packet that has come in by another tunnel may leave to `peer`, and who it then counts for.
    pub fn pass_relayed(&mut self, peer: u32, bytes: &[u8], now: Millis) -> Result<Passed, DropReason> {
        self.pass_by(Leg::Out, peer, true, bytes, now).map(|(_, passed)| passed)
    }

    /// An answer from the internet to somebody who has an exit comes from there, or it is none: None.
    pub(super) fn comes_its_way(&self, case: &Case<'_>, place: usize) -> Option<()> {
        if !self.policy.has_exits || case.is_relayed || case.leg == Leg::In {
            return Some(());
        }
        let flow = self.flows.get(place)?;
        (flow.leg == Leg::Out || self.exit_of(flow).is_none()).then_some(())
    }

    /// Finds the peers of the device that are exits of the policy.
    pub(super) fn find_exits(&mut self) {
        self.exits.clear();
        if !self.policy.has_exits {
            return;
        }
        let subjects = self.policy.subjects.iter();
        let mut parts: Vec<PartId> = subjects.filter_map(|(_, subject)| subject.exit).collect();
        parts.sort_unstable();
        parts.dedup();
        let id_of = |part: PartId| self.peers.iter().position(|state| state.part == Some(part));
        self.exits = parts.iter().filter_map(|&part| Some((part, id_of(part)? as u32))).collect();
    }

    /// The exit that a flow to the internet leaves by.
    fn exit_of(&self, flow: &Flow) -> Option<PartId> {
        let opener = self.subject(flow.peer, &attempt_of(&flow.key, flow.leg))?;
        let exit = self.policy.subjects.get(opener)?.exit?;
        let version = if flow.key.is_v6 { Version::V6 } else { Version::V4 };
        let destination = match flow.leg {
            Leg::In => flow.key.local,
            Leg::Out => flow.key.remote,
        };
        self.policy.is_internet(Address { version, bits: destination }).then_some(exit)
    }

    fn part(&self, peer: u32) -> Option<PartId> {
        self.peers.get(peer as usize).and_then(|state| state.part)
    }
}
