//! Counters: 64 bit, in one block that the host reads whenever it likes. Drops come first, one per reason;
//! metrics and documents read the names from here.

/// Why a packet went no further: the number is its place in the block, the name its label. Append only.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DropReason {
    /// Not one of the four messages: wrong length, type or reserved bytes. WireGuard paper §5.4.
    MalformedMessage,
    /// mac1 is not keyed with our public key: the sender does not know whom it talks to. §5.4.4.
    BadMac1,
    /// A public key whose Diffie-Hellman result would be zero for everyone.
    LowOrderKey,
    /// An authentic initiation from a key that is no peer's.
    UnknownPeer,
    /// An initiation no newer than one already answered: a replay.
    ReplayedInitiation,
    /// A handshake message that does not authenticate, or answers nothing we sent.
    BadHandshake,
    /// A cookie reply that does not open, or answers nothing we sent.
    BadCookieReply,
    /// A receiver index that is no peer's, or whose session has gone.
    UnknownIndex,
    /// The tag does not verify.
    BadTag,
    /// A counter already seen, or too old to tell.
    ReplayedCounter,
    /// A counter beyond Reject-After-Messages. §6.2.
    CounterLimit,
    /// An authentic message whose inside is no whole IP packet.
    InnerMalformed,
    /// An inner source that the whole table gives to another peer, or to none. §2.
    SourceNotAllowed,
    /// A frame from the TUN device that is no whole IP packet.
    FrameMalformed,
    /// No peer has the destination among its allowed IPs.
    NoRoute,
    /// The peer has no endpoint yet.
    NoEndpoint,
    /// Waited for a session, and newer packets took its place.
    StagedOverflow,
    /// Waited for a session that did not come.
    StagedExpired,
    /// The arena for messages or frames was full.
    ArenaFull,
    /// An authentic initiation less than 20 ms after the peer's last.
    HandshakeRate,
    /// We have no private key yet.
    NoIdentity,
    /// A handshake message without the cookie that load demands: its sender was told one. §5.3.
    HandshakeCookie,
    /// A handshake message beyond the 20 a second of a source, under load.
    HandshakeSourceRate,
    /// As many handshake messages wait for their Diffie-Hellman as may.
    HandshakeQueueFull,
    /// A message from a peer to this host that came too fast, or found too many waiting.
    TalkRefused,
    /// The policy does not allow it.
    FilterDenied,
    /// The header that rules read is cut, or lies about its length.
    CutHeader,
    /// IPv6 extension headers that are too many, twice there, or a routing header of type 0. RFC 5095.
    BadExtensions,
    /// A piece of a datagram that overlaps others, hides the header, or comes without the first. RFC 1858, RFC 5722.
    BadFragment,
    /// A TCP segment that is not of the connection: flags or sequence numbers that cannot be.
    BadSegment,
    /// Of no known flow, and not what opens one: TCP without SYN, an ICMP answer or error that belongs to nothing.
    NoFlow,
    /// No flow gave way to a new one.
    FlowTableFull,
    /// More waits for the rate of the peer than may.
    OverRate,
    /// The quota of the peer is used up.
    OverQuota,
    /// Too many hops: a packet that goes on to an exit has none left.
    HopLimit,
    /// Longer than the MTU of the tunnel to its exit, and not to be cut: its sender is told.
    TooBig,
}

impl DropReason {
    pub const NAMES: [&'static str; 36] = [
        "malformed-message",
        "bad-mac1",
        "low-order-key",
        "unknown-peer",
        "replayed-initiation",
        "bad-handshake",
        "bad-cookie-reply",
        "unknown-index",
        "bad-tag",
        "replayed-counter",
        "counter-limit",
        "inner-malformed",
        "source-not-allowed",
        "frame-malformed",
        "no-route",
        "no-endpoint",
        "staged-overflow",
        "staged-expired",
        "arena-full",
        "handshake-rate",
        "no-identity",
        "handshake-cookie",
        "handshake-source-rate",
        "handshake-queue-full",
        "talk-refused",
        "filter-denied",
        "cut-header",
        "bad-extensions",
        "bad-fragment",
        "bad-segment",
        "no-flow",
        "flow-table-full",
        "over-rate",
        "over-quota",
        "hop-limit",
        "too-big",
    ];
}
const _: () = assert!(DropReason::TooBig as usize + 1 == DropReason::NAMES.len());

impl DropReason {
    /// Whether the policy says no, and so says whether the sender is told.
    pub fn is_denial(self) -> bool {
        matches!(self, DropReason::FilterDenied | DropReason::OverQuota)
    }
}

/// The block of drop counters. Fixed for the life of the core: the host knows its address.
pub struct Counters {
    pub drops: Box<[u64]>,
}

impl Counters {
    pub fn new() -> Self {
        Counters { drops: vec![0; DropReason::NAMES.len()].into_boxed_slice() }
    }

    pub fn drop(&mut self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    pub fn drop_many(&mut self, reason: DropReason, count: usize) {
        if let Some(counter) = self.drops.get_mut(reason as usize) {
            *counter += count as u64;
        }
    }

    #[cfg(test)]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}
