//! Which flow a packet is of, and what opened a flow, from its headers alone.

use crate::packet::address::{Address, Version};

use super::Leg;
use super::flow_table::FlowKey;
use super::packet::{ICMP, ICMPV6, Packet, has_ports, is_icmp};
use super::rules::Attempt;

/// Whether it reports what became of another packet. RFC 792, RFC 4443 §2.1.
pub fn is_error(packet: &Packet<'_>) -> bool {
    match packet.protocol {
        ICMP => matches!(packet.icmp_type(), 3 | 4 | 11 | 12),
        ICMPV6 => packet.icmp_type() < 128,
        _ => false,
    }
}

/// The type of request that an ICMP type answers.
fn answered_type(protocol: u8, kind: u8) -> Option<u8> {
    match (protocol, kind) {
        (ICMP, 0) => Some(8),
        (ICMP, 14) => Some(13),
        (ICMPV6, 129) => Some(128),
        _ => None,
    }
}

fn is_query(protocol: u8, kind: u8) -> bool {
    matches!((protocol, kind), (ICMP, 8 | 13) | (ICMPV6, 128))
}

/// The flow that a packet on `leg` is of.
pub fn key_of(leg: Leg, packet: &Packet<'_>, tunnel: u32) -> FlowKey {
    let (asks, (source_port, destination_port)) = if is_icmp(packet.protocol) {
        let (kind, id) = (packet.icmp_type(), packet.icmp_id());
        match answered_type(packet.protocol, kind) {
            Some(request) => (Some(leg.other()), (u16::from(request), id)),
            None if is_query(packet.protocol, kind) => (Some(leg), (id, u16::from(kind))),
            None => (Some(leg), (0, u16::from(kind))),
        }
    } else {
        (None, packet.ports())
    };
    let ends = ((packet.source.bits, source_port), (packet.destination.bits, destination_port));
    FlowKey { asks, ..FlowKey::of_ends(leg, ends, packet.protocol, packet.source.version, tunnel) }
}

/// What opened a flow, or would have, on `leg`.
pub fn attempt_of(key: &FlowKey, leg: Leg) -> Attempt {
    let version = if key.is_v6 { Version::V6 } else { Version::V4 };
    let (remote, local) = (Address { version, bits: key.remote }, Address { version, bits: key.local });
    let (source, destination, port) = match leg {
        Leg::In => (remote, local, key.local_port),
        Leg::Out => (local, remote, key.remote_port),
    };
    let port = has_ports(key.protocol).then_some(port);
    Attempt { leg, source, destination, protocol: key.protocol, port }
}
