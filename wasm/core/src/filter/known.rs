//! The short way through the filter: a whole TCP or UDP packet of a flow that the present policy lets pass, which nearly every
//! packet is. It reads no more than tells the flow and finds it by a guess ([`FlowTable::recall`]); what it does to the
//! flow is what the long way does. All that is anything else, or nothing that passes, goes there, and finds nothing changed.

use crate::host::Millis;
use crate::packet::ip::IpHeader;
use crate::packet::transport::{Headers, Protocol, u16_at};

use super::flow_table::FlowKey;
use super::meters::Passed;
use super::tcp::Segment;
use super::{Filter, Leg};

impl Filter {
    /// Whether this packet passes, and who it counts for; None = the long way says.
    pub(super) fn pass_known(&mut self, leg: Leg, peer: u32, bytes: &[u8], now: Millis) -> Option<Passed> {
        if self.follows || self.policy.has_exits || self.meters.is_limited(peer) {
            return None;
        }
        let (key, protocol, transport) = read(leg, bytes, self.flows.tunnel(peer))?;
        let now = self.clock.ticks(now);
        let flow = self.flows.recall(&key, now)?;
        if flow.generation != self.generation || !flow.decision.allows {
            return None;
        }
        let is_original = flow.leg == leg;
        match protocol {
            Protocol::Udp => flow.hear(is_original, now),
            Protocol::Tcp => {
                let lifetime = flow.tcp.go_on(is_original, &Segment::parse(transport, false)?)?;
                flow.expires = now + lifetime;
                flow.is_answered = true;
            }
        }
        Some(Passed::new(peer, leg, flow.service, is_original))
    }
}

/// The flow of a whole packet whose TCP or UDP header is right behind a plain IP header, and what follows the latter.
#[inline]
pub(super) fn read(leg: Leg, bytes: &[u8], tunnel: u32) -> Option<(FlowKey, Protocol, &[u8])> {
    let headers = Headers::parse(bytes)?;
    let ip = IpHeader::parse(bytes)?;
    let transport =
        bytes.get(headers.ip..ip.total_length).filter(|it| it.len() >= headers.all - headers.ip)?;
    let (source, destination) = (ip.source.bits, ip.destination.bits);
    let (source_port, destination_port) = (u16_at(transport, 0)?, u16_at(transport, 2)?);
    let ends = ((source, source_port), (destination, destination_port));
    Some((
        FlowKey::of_ends(leg, ends, headers.protocol.number(), headers.version, tunnel),
        headers.protocol,
        transport,
    ))
}
