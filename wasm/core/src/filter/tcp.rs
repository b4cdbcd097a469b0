//! A TCP connection as its packets tell it from the middle: who may say what next, and which sequence numbers are plausible.
//! The windows are tracked as in G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000), which Linux
//! `net/netfilter/nf_conntrack_proto_tcp.c` follows as well: generous where packets may have been lost behind us, so that no
//! honest connection is ever cut, and close enough that a blind guess does not hit.

use crate::packet::transport::{u16_at, u32_at};

use super::flow_table::{Ticks, seconds};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const HEADER_BYTES: usize = 20;

/// How long a connection may be silent. RFC 5382 §5 asks for 2 h 4 min of an established one.
const OPENING: Ticks = seconds(60);
const ESTABLISHED: Ticks = seconds(7_440);
const CLOSING: Ticks = seconds(120);
const CLOSED: Ticks = seconds(10);

/// No window is taken to be smaller than this: an acknowledgement may be this old.
const LEAST_WINDOW: u32 = 66_000;
/// RFC 7323 §2.3.
const MOST_SCALE: u8 = 14;

/// What a segment says. `length` counts payload, SYN and FIN.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    sequence: u32,
    acknowledgement: u32,
    window: u16,
    flags: u8,
    length: u32,
    /// The window scale that a SYN offers.
    scale: Option<u8>,
    is_fragment: bool,
}

impl Segment {
    /// None for a header that lies about its length, and for flags that no TCP sends together.
    pub fn parse(transport: &[u8], is_fragment: bool) -> Option<Segment> {
        let header_bytes = usize::from(*transport.get(12)? >> 4) * 4;
        if header_bytes < HEADER_BYTES {
            return None;
        }
        let flags = *transport.get(13)? & (FIN | SYN | RST | ACK);
        let is_sane = match flags & (FIN | SYN | RST) {
            0 | FIN => flags & ACK != 0,
            SYN | RST => true,
            _ => false,
        };
        let options = transport.get(HEADER_BYTES..header_bytes);
        let payload = transport.len().checked_sub(header_bytes)?;
        is_sane.then_some(Segment {
            sequence: u32_at(transport, 4)?,
            acknowledgement: u32_at(transport, 8)?,
            window: u16_at(transport, 14)?,
            flags,
            length: payload as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0),
            scale: options.filter(|_| flags & SYN != 0).and_then(window_scale),
            is_fragment,
        })
    }

    fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.length)
    }

    /// Whether it may be the first of a connection.
    pub fn opens(&self) -> bool {
        self.flags == SYN
    }

    /// Whether it may be from the middle of a connection that was there before us.
    pub fn continues(&self) -> bool {
        self.has(ACK) && !self.has(SYN) && !self.has(RST)
    }
}

fn window_scale(mut options: &[u8]) -> Option<u8> {
    loop {
        match options {
            [0, ..] | [] => return None,
            [1, rest @ ..] => options = rest,
            [3, 3, scale, ..] => return Some((*scale).min(MOST_SCALE)),
            [_, length, ..] => options = options.get(usize::from(*length).max(2)..)?,
            [_] => return None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    SynSent,
    SynReceived,
    Established,
    /// One side, or both, have said their last.
    Closing,
    Closed,
}

/// What one side has sent, and what the other lets it send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Side {
    /// Behind the last it has sent.
    end: u32,
    /// Behind the last it may send: what the other has acknowledged, and its window.
    limit: u32,
    /// The largest window it has offered; 0 = it has not been heard.
    window: u32,
    scale: Option<u8>,
}

/// Both sides: 0 opened the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tracking {
    sides: [Side; 2],
    state: State,
    finished: [bool; 2],
    /// Fragmented, or older than we: the windows are not known, and not looked at.
    is_loose: bool,
}

/// What becomes of a segment on a known flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It passes; the flow lives this much longer.
    Pass(Ticks),
    /// The former connection is over, and this is the first segment of another one.
    Reopen,
    /// It does not belong to the connection.
    Refuse,
}

/// Whether `a` is before `b` on the ring of sequence numbers. RFC 9293 §3.4.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Tracking {
    pub fn open(segment: &Segment) -> Tracking {
        let mut tracking = Tracking { is_loose: segment.is_fragment, ..Tracking::default() };
        if let Some(side) = tracking.sides.first_mut() {
            *side = Side::speaking(segment);
        }
        tracking
    }

    /// Of a connection that was there before us.
    pub fn pick_up() -> Tracking {
        Tracking { state: State::Established, is_loose: true, ..Tracking::default() }
    }

    pub fn timeout(&self) -> Ticks {
        match self.state {
            State::SynSent | State::SynReceived => OPENING,
            State::Established => ESTABLISHED,
            State::Closing => CLOSING,
            State::Closed => CLOSED,
        }
    }

    /// Whether both sides have agreed on the connection, and neither has left it.
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established | State::Closing)
    }

    /// Takes one more segment, of whoever opened the connection or of the other.
    pub fn step(&mut self, is_original: bool, segment: &Segment) -> Step {
        let over =
            matches!(self.state, State::Closing if self.finished == [true; 2]) || self.state == State::Closed;
        if segment.opens() {
            return match (is_original, self.state) {
                _ if over => Step::Reopen,
                (true, State::SynSent | State::SynReceived) | (false, State::SynSent) => {
                    self.hear_syn(is_original, segment)
                }
                // The host at that end has lost its connection: the other answers with what it knows, RFC 5961 §4.
                (true, _) => Step::Pass(self.timeout()),
                (false, _) => Step::Refuse,
            };
        }
        if segment.has(SYN | ACK) && (is_original || self.state == State::SynSent) {
            return if is_original { Step::Refuse } else { self.hear_syn(false, segment) };
        }
        self.is_loose |= segment.is_fragment;
        if !self.is_loose && !self.is_plausible(is_original, segment) {
            return Step::Refuse;
        }
        if self.state == State::SynSent && is_original && !segment.has(RST) {
            return Step::Refuse; // it goes on as if it had been answered
        }
        self.advance(is_original, segment);
        Step::Pass(self.timeout())
    }

    /// [`Tracking::step`] of a plain segment that goes on with an established connection. None for any other segment, and for
    /// one that does not pass: then nothing has changed.
    pub fn go_on(&mut self, is_original: bool, segment: &Segment) -> Option<Ticks> {
        let goes_on = self.state == State::Established
            && segment.flags == ACK
            && !segment.is_fragment
            && (self.is_loose || self.is_plausible(is_original, segment));
        goes_on.then_some(ESTABLISHED)
    }

    fn hear_syn(&mut self, is_original: bool, segment: &Segment) -> Step {
        let [original, reply] = &mut self.sides;
        let (sender, receiver) = if is_original { (original, reply) } else { (reply, original) };
        if segment.has(ACK) && before(receiver.end, segment.acknowledgement) {
            return Step::Refuse; // it acknowledges what was never sent
        }
        *sender = Side::speaking(segment);
        if segment.has(ACK) {
            receiver.grant(segment.acknowledgement, u32::from(segment.window));
        }
        if !is_original {
            self.state = State::SynReceived;
        }
        Step::Pass(self.timeout())
    }

    /// Whether sequence and acknowledgement number lie where this side may be; then what it says of its window is taken in, else
    /// nothing.
    fn is_plausible(&mut self, is_original: bool, segment: &Segment) -> bool {
        let scales = self.sides.iter().all(|side| side.scale.is_some());
        let [original, reply] = &mut self.sides;
        let (sender, receiver) = if is_original { (original, reply) } else { (reply, original) };
        if sender.window == 0 {
            // Not heard yet: the answer to a SYN that is no SYN, so a reset or an acknowledgement of an older connection.
            return segment.length == 0 && segment.has(ACK) && segment.acknowledgement == receiver.end
                || segment.length == 0 && !segment.has(RST);
        }
        let is_silent = !segment.has(ACK) || segment.has(RST) && segment.acknowledgement == 0;
        let acknowledged = if is_silent { receiver.end } else { segment.acknowledgement };
        let (start, end) = (segment.sequence, segment.end());
        let reach = sender.window.max(LEAST_WINDOW);
        let fits = !before(sender.limit.wrapping_add(1), start)
            && !before(end, sender.end.wrapping_sub(receiver.window.max(LEAST_WINDOW)))
            && !before(receiver.end, acknowledged)
            && !before(acknowledged, receiver.end.wrapping_sub(reach));
        if !fits {
            return false;
        }
        let scale = if scales { sender.scale.unwrap_or(0) } else { 0 };
        let window = u32::from(segment.window) << scale;
        sender.window = sender.window.max(window);
        if before(sender.end, end) {
            sender.end = end;
        }
        if before(sender.limit, end) {
            sender.limit = end; // a probe of a closed window
        }
        if !is_silent {
            receiver.grant(acknowledged, window);
        }
        true
    }

    fn advance(&mut self, is_original: bool, segment: &Segment) {
        if segment.has(RST) {
            self.state = State::Closed;
            return;
        }
        if let Some(finished) = self.finished.get_mut(usize::from(!is_original)) {
            *finished |= segment.has(FIN);
        }
        match self.state {
            State::SynReceived | State::Established if segment.has(FIN) => self.state = State::Closing,
            State::SynReceived if is_original => self.state = State::Established,
            _ => {}
        }
    }

    /// Whether a segment that an ICMP error quotes may have been sent by this side: RFC 5927 §4.1.
    pub fn has_sent(&self, is_original: bool, transport: &[u8]) -> bool {
        let [original, reply] = &self.sides;
        let (sender, receiver) = if is_original { (original, reply) } else { (reply, original) };
        let Some(sequence) = u32_at(transport, 4) else { return false };
        let oldest = sender.end.wrapping_sub(receiver.window.max(LEAST_WINDOW));
        self.is_loose || !before(sequence, oldest) && !before(sender.end, sequence)
    }
}

impl Side {
    /// As its first segment, a SYN, shows it.
    fn speaking(segment: &Segment) -> Side {
        let window = u32::from(segment.window).max(1);
        Side { end: segment.end(), limit: segment.end(), window, scale: segment.scale }
    }

    /// The other has acknowledged this much, and lets it send so much more.
    fn grant(&mut self, acknowledged: u32, window: u32) {
        let limit = acknowledged.wrapping_add(window.max(1));
        if before(self.limit, limit) {
            self.limit = limit;
        }
    }
}
