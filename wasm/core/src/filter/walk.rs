//! The long way of a packet through the filter, which the head of `mod.rs` draws: which flow it is of, whether that may live
//! under the present policy, or whether the packet may open one. What passes the short way, `known.rs`, is judged alike.

use crate::counters::DropReason;
use crate::host::Millis;

use super::flow_table::{Flow, FlowKey, UNANSWERED, ticks};
use super::fragments::Origin;
use super::keys::{attempt_of, is_error, key_of};
use super::meters::Passed;
use super::packet::{Packet, TCP, is_icmp};
use super::policy::{Decision, PartId, Stage};
use super::report::Cause;
use super::rules::Attempt;
use super::tcp::{Segment, Step, Tracking};
use super::{Filter, Leg};

/// A packet that is being decided on.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub packet: &'a Packet<'a>,
    pub leg: Leg,
    pub peer: u32,
    /// On leg out: it came in through another tunnel, and this host has not seen it.
    pub is_relayed: bool,
    pub now: Millis,
}

impl Filter {
    /// The long way, with the place of the flow that the packet is of.
    pub(super) fn pass_by(
        &mut self,
        leg: Leg,
        peer: u32,
        is_relayed: bool,
        bytes: &[u8],
        now: Millis,
    ) -> Result<(usize, Passed), DropReason> {
        let packet = match Packet::parse(bytes) {
            Ok(packet) => packet,
            Err(reason) => {
                let is_followed = self.is_followed(peer);
                self.report.log(now, is_followed, leg, peer, None, Cause::Dropped(reason));
                return Err(reason);
            }
        };
        let case = Case { packet: &packet, leg, peer, is_relayed, now };
        if let Some(rule) = self.meters.used_up(peer) {
            self.tell(&case, Decision { allows: false, stage: Stage::Quota, rule });
            return Err(DropReason::OverQuota);
        }
        let result = self.examine(&case);
        if let Err(reason) = result
            && reason != DropReason::FilterDenied
        {
            self.log(&case, Cause::Dropped(reason));
        }
        let place = result?;
        let flow = self.flows.get(place).ok_or(DropReason::NoFlow)?;
        let (decision, passed) = (flow.decision, Passed::new(peer, leg, flow.service, flow.leg == leg));
        if self.is_followed(peer) {
            self.log(&case, Cause::Decided(decision));
        }
        Ok((place, passed))
    }

    /// How the policy would judge a packet as the first of a flow; no flow is looked at or made.
    pub fn judge(&self, leg: Leg, peer: u32, bytes: &[u8]) -> Result<Decision, DropReason> {
        if !self.is_on {
            return Ok(Decision { allows: true, ..Decision::DEFAULT });
        }
        let packet = Packet::parse(bytes)?;
        let attempt = attempt_of(&key_of(leg, &packet, 0), leg);
        let port = match is_icmp(packet.protocol) {
            true => Some(u16::from(packet.icmp_type())),
            false => attempt.port,
        };
        let attempt =
            Attempt { source: packet.source, destination: packet.destination, leg, port, ..attempt };
        Ok(self.policy.judge(self.subject(peer, &attempt), &attempt))
    }

    pub(super) fn subject(&self, peer: u32, attempt: &Attempt) -> Option<PartId> {
        let part = self.peers.get(peer as usize).and_then(|state| state.part);
        self.policy.subject_of(part, attempt)
    }

    /// The place of the flow that the packet is of.
    fn examine(&mut self, case: &Case<'_>) -> Result<usize, DropReason> {
        let Case { packet, leg, peer, now, .. } = *case;
        let tunnel = self.flows.tunnel(peer);
        let Some(fragment) = packet.fragment else {
            if is_error(packet) {
                return self.take_error(case, tunnel);
            }
            return self.take(case, key_of(leg, packet, tunnel));
        };
        let Packet { source, destination, protocol, .. } = *packet;
        let origin = Origin { tunnel, leg, source, destination, protocol };
        if !fragment.is_first() {
            let key = self.fragments.follow(&origin, &fragment, ticks(now)).ok_or(DropReason::BadFragment)?;
            let place = self.flows.find(&key, ticks(now)).ok_or(DropReason::BadFragment)?;
            return self.judge_again(case, place).map_or_else(|no| self.deny(case, no), |()| Ok(place));
        }
        if is_error(packet) || self.fragments.is_under_way(&origin, &fragment, ticks(now)) {
            return Err(DropReason::BadFragment);
        }
        let key = key_of(leg, packet, tunnel);
        let place = self.take(case, key)?;
        self.fragments.begin(&origin, &fragment, key, ticks(now));
        Ok(place)
    }

    /// A packet with all its headers, of a flow or the first of one.
    fn take(&mut self, case: &Case<'_>, key: FlowKey) -> Result<usize, DropReason> {
        let segment = match case.packet.protocol {
            TCP => {
                let is_fragment = case.packet.fragment.is_some();
                Some(Segment::parse(case.packet.transport, is_fragment).ok_or(DropReason::BadSegment)?)
            }
            _ => None,
        };
        let now = ticks(case.now);
        let Some(place) = self.flows.find(&key, now) else { return self.open(case, key, segment) };
        self.flows.remember(&key, place);
        if let Err(decision) = self.judge_again(case, place) {
            // Another connection on the same ports is not the one that was revoked.
            let opens = segment.filter(Segment::opens).is_some();
            return if opens { self.open(case, key, segment) } else { self.deny(case, decision) };
        }
        let Some(flow) = self.flows.get_mut(place) else { return Err(DropReason::NoFlow) };
        let is_original = flow.leg == case.leg;
        let Some(segment) = segment else {
            flow.hear(is_original, now);
            return Ok(place);
        };
        match flow.tcp.step(is_original, &segment) {
            Step::Pass(lifetime) => {
                flow.expires = now + lifetime;
                flow.is_answered = flow.tcp.is_established();
                Ok(place)
            }
            Step::Refuse => Err(DropReason::BadSegment),
            Step::Reopen => {
                self.flows.remove(place);
                self.open(case, key, Some(segment))
            }
        }
    }

    /// The first packet of a flow.
    fn open(&mut self, case: &Case<'_>, key: FlowKey, segment: Option<Segment>) -> Result<usize, DropReason> {
        let Case { packet, leg, peer, now, .. } = *case;
        if leg == Leg::In && self.policy.is_own(packet.source) {
            return Err(DropReason::SourceNotAllowed); // we are not at the other end of our own tunnel
        }
        let (leg, tcp) = match segment {
            // An answer without its question.
            None if key.asks.is_some_and(|asks| asks != leg) => return Err(DropReason::NoFlow),
            None => (leg, Tracking::default()),
            Some(segment) if segment.opens() => (leg, Tracking::open(&segment)),
            Some(segment) if segment.continues() && ticks(now) < self.pick_up_until => {
                // Which of the two opened it nobody knows any more: whoever may.
                let may = |leg: Leg| {
                    let attempt = attempt_of(&key, leg);
                    self.policy.judge(self.subject(peer, &attempt), &attempt).allows
                };
                (if may(leg) || !may(leg.other()) { leg } else { leg.other() }, Tracking::pick_up())
            }
            Some(_) => return Err(DropReason::NoFlow),
        };
        let attempt = attempt_of(&key, leg);
        let subject = self.subject(peer, &attempt);
        let decision = self.policy.judge(subject, &attempt);
        if !decision.allows {
            return self.deny(case, decision);
        }
        let lifetime = if packet.protocol == TCP { tcp.timeout() } else { UNANSWERED };
        let flow = Flow {
            key,
            leg,
            tcp,
            expires: ticks(now) + lifetime,
            generation: self.generation,
            service: self.service(subject, &attempt),
            decision,
            ..Flow::default()
        };
        let place = self.flows.insert(flow, peer, ticks(now)).ok_or(DropReason::FlowTableFull)?;
        self.meters.count_flow(leg, peer, flow.service);
        Ok(place)
    }

    /// Where the service is counted that the flow uses; 0 = it is none that is.
    fn service(&mut self, subject: Option<PartId>, attempt: &Attempt) -> u32 {
        let rule = subject.and_then(|subject| self.policy.service_of(subject, attempt));
        rule.map_or(0, |rule| self.meters.service(rule))
    }

    /// Whether a flow may live: one that another policy has judged is judged again. One that is revoked stays dead while it
    /// goes on, whoever sends: that we may open flows ourselves does not let a server of ours go on with one that a peer
    /// may no longer have.
    pub(super) fn judge_again(&mut self, case: &Case<'_>, place: usize) -> Result<(), Decision> {
        let Some(flow) = self.flows.get_mut(place) else { return Err(Decision::DEFAULT) };
        if flow.generation != self.generation {
            let attempt = attempt_of(&flow.key, flow.leg);
            let subject = self.subject(case.peer, &attempt);
            let decision = self.policy.judge(subject, &attempt);
            let service = self.service(subject, &attempt);
            let Some(flow) = self.flows.get_mut(place) else { return Err(Decision::DEFAULT) };
            flow.generation = self.generation;
            flow.service = service;
            flow.decision = decision;
        }
        let comes_its_way = self.comes_its_way(case, place);
        let Some(flow) = self.flows.get_mut(place) else { return Err(Decision::DEFAULT) };
        let decision = flow.decision;
        if decision.allows {
            return comes_its_way.ok_or(Decision::DEFAULT);
        }
        flow.is_answered = false;
        flow.expires = ticks(case.now) + UNANSWERED;
        Err(decision)
    }

    /// An ICMP error passes if it is about a packet that went the other way on a live flow of this tunnel.
    fn take_error(&mut self, case: &Case<'_>, tunnel: u32) -> Result<usize, DropReason> {
        let quoted =
            case.packet.transport.get(8..).and_then(Packet::parse_quoted).ok_or(DropReason::NoFlow)?;
        if quoted.source != case.packet.destination || is_error(&quoted) {
            return Err(DropReason::NoFlow);
        }
        let key = key_of(case.leg.other(), &quoted, tunnel);
        let place = self.flows.find(&key, ticks(case.now)).ok_or(DropReason::NoFlow)?;
        if let Err(decision) = self.judge_again(case, place) {
            return self.deny(case, decision);
        }
        let Some(flow) = self.flows.get_mut(place) else { return Err(DropReason::NoFlow) };
        let was_sent = quoted.protocol != TCP || flow.tcp.has_sent(flow.leg != case.leg, quoted.transport);
        was_sent.then_some(place).ok_or(DropReason::NoFlow)
    }

    fn deny(&mut self, case: &Case<'_>, decision: Decision) -> Result<usize, DropReason> {
        self.tell(case, decision);
        Err(DropReason::FilterDenied)
    }

    /// Counts and logs what the policy says no to.
    fn tell(&mut self, case: &Case<'_>, decision: Decision) {
        self.report.count(case.peer, decision, case.packet.length);
        self.log(case, Cause::Decided(decision));
    }

    fn log(&mut self, case: &Case<'_>, cause: Cause) {
        let is_followed = self.is_followed(case.peer);
        self.report.log(case.now, is_followed, case.leg, case.peer, Some(case.packet), cause);
    }
}
