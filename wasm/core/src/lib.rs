//! The core's ABI on one screen. Its twin is `wasm/index.ts`; the layout is in `docs/architecture.md`.
//!
//! A trap would stop every peer of the lane, so every argument is parsed here and nothing behind these exports
//! can panic on what a packet contains. Counts and ids come back as non-negative numbers, a [`Refusal`] as a
//! negative one. What a call leaves in the columns is borrowed until the next call that fills them.

mod admission;
mod allowed_ips;
mod arena;
mod control;
mod cookies;
mod counters;
mod device;
mod filter;
mod handshake_gate;
mod handshakes;
mod host;
mod inbound;
mod index_table;
mod message;
mod noise;
mod offload;
mod outbound;
mod packet;
mod peer;
mod prefix_buckets;
mod prefix_tree;
mod relay;
mod release;
mod replay_window;
mod sessions;
mod source_buckets;
mod staging;
mod talk;
mod timers;
mod tunnel;

mod waiting;
mod ways;
mod wipe;
mod write_arena;

use std::cell::RefCell;

use arena::{READ_SLOTS, RECEIVE_SLOTS, SEND_SLOTS, address_of};
use control::ControlBlock;
use counters::DropReason;
use device::Refusal;
use ways::Which;

#[global_allocator]
static ALLOCATOR: wipe::WipingAllocator = wipe::WipingAllocator;

const ABI_VERSION: u32 = 6;

thread_local! {
    static CONTROL: RefCell<ControlBlock> = RefCell::new(ControlBlock::new());
    static LAYOUT: RefCell<[u32; 16]> = const { RefCell::new([0; 16]) };
}

/// Runs `work` on the control block and turns its answer into a number.
fn control(work: impl FnOnce(&mut ControlBlock) -> Result<i32, Refusal>) -> i32 {
    CONTROL.with_borrow_mut(work).unwrap_or_else(|refusal| refusal as i32)
}

/// The same for calls that keys pass through.
fn control_of_keys(work: impl FnOnce(&mut ControlBlock) -> Result<i32, Refusal>) -> i32 {
    wipe::without_traces(|| control(work))
}

fn answer(result: Result<(), Refusal>) -> i32 {
    result.map_or_else(|refusal| refusal as i32, |()| 0)
}

/// The address of the layout block: 16 `u32`. Makes the device if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn layout() -> u32 {
    let (control, control_bytes) =
        CONTROL.with_borrow(|block| (address_of(block.bytes()), block.bytes().len()));
    let block = device::with_intake(|device, intake| {
        let (receive, send) = (&intake.receive.column, &device.shared.send.column);
        let (read, write) = (&intake.read.column, &device.write.column);
        let counters = &device.shared.counters.drops;
        [
            [ABI_VERSION, 0],
            [address_of(receive), receive.len() as u32],
            [address_of(send), send.len() as u32],
            [address_of(read), read.len() as u32],
            [address_of(write), write.len() as u32],
            [control, control_bytes as u32],
            [address_of(counters), counters.len() as u32],
        ]
    });
    LAYOUT.with_borrow_mut(|layout| {
        // The version stands alone; pairs of address and count follow it.
        let flat = block.into_iter().flatten().enumerate().filter(|&(index, _)| index != 1);
        layout.iter_mut().zip(flat).for_each(|(place, (_, value))| *place = value);
        address_of(&layout[..])
    })
}

/// The host's clock in milliseconds, for everything until the next call. It counts through suspend.
#[unsafe(no_mangle)]
pub extern "C" fn set_time(now_ms: f64) {
    host::set_time(now_ms);
}

/// Takes our private key from the control block, at any time; zeros mean none. The same key again changes nothing.
/// Without a key the device is silent. Refused ([`Refusal::OwnKey`]) while a peer has the public key that belongs to it.
#[unsafe(no_mangle)]
pub extern "C" fn set_identity() -> i32 {
    control_of_keys(|block| {
        let private = block.take_private_key()?;
        device::with(|device| device.set_identity(&private)).map(|()| 0)
    })
}

/// The MTU of the TUN device: packets are padded up to it.
#[unsafe(no_mangle)]
pub extern "C" fn set_mtu(mtu: u32) {
    device::with(|device| device.set_mtu(mtu as usize));
}

/// Which offloads the host has switched on: bit 0 trains of datagrams (UDP_SEGMENT), bit 1 TCP superpackets into the TUN
/// device, bit 2 UDP ones.
#[unsafe(no_mangle)]
pub extern "C" fn set_offloads(bits: u32) {
    device::with(|device| device.set_offloads(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
}

/// Adds the peer described in the control block and returns its id.
#[unsafe(no_mangle)]
pub extern "C" fn add_peer() -> i32 {
    control_of_keys(|block| {
        let settings = block.take_peer_settings()?;
        device::with(|device| device.add_peer(settings)).map(|id| id as i32)
    })
}

/// Removes a peer, its sessions and its allowed IPs.
#[unsafe(no_mangle)]
pub extern "C" fn remove_peer(peer: u32) -> i32 {
    answer(wipe::without_traces(|| device::with(|device| device.remove_peer(peer))))
}

/// Where to find a peer, from the control block; its own authentic messages move it from there.
#[unsafe(no_mangle)]
pub extern "C" fn set_endpoint(peer: u32) -> i32 {
    control(|block| {
        let endpoint = block.read_endpoint()?;
        device::with(|device| device.set_endpoint(peer, endpoint)).map(|()| 0)
    })
}

/// Takes a peer's preshared key, or that it has none, from the control block. The same again changes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn set_preshared_key(peer: u32) -> i32 {
    control_of_keys(|block| {
        let key = block.take_preshared_key()?;
        device::with(|device| device.set_preshared_key(peer, key)).map(|()| 0)
    })
}

/// Takes the private key that is to follow ours from the control block; zeros mean none. Initiations to either are
/// answered, and each peer that has one set of keys gets a second with it.
#[unsafe(no_mangle)]
pub extern "C" fn set_next_identity() -> i32 {
    control_of_keys(|block| {
        let private = block.take_private_key()?;
        device::with(|device| device.set_next_identity(&private)).map(|()| 0)
    })
}

/// The key that was to follow ours is ours; the former one is wiped. Sessions go on to their end.
#[unsafe(no_mangle)]
pub extern "C" fn adopt_next_identity() -> i32 {
    answer(wipe::without_traces(|| device::with(device::Device::adopt_next_identity)))
}

/// Gives a peer the second set of keys in the control block: handshakes under both are answered.
#[unsafe(no_mangle)]
pub extern "C" fn add_keys(peer: u32) -> i32 {
    control_of_keys(|block| {
        let (public_key, preshared_key) = block.take_keys()?;
        device::with(|device| device.add_keys(peer, public_key, preshared_key)).map(|()| 0)
    })
}

/// From now on handshakes begin with a peer's second set of keys, until one succeeds with the first.
#[unsafe(no_mangle)]
pub extern "C" fn prefer_other_keys(peer: u32) -> i32 {
    answer(device::with(|device| device.prefer_other_keys(peer)))
}

/// Keeps a peer's second set of keys (`other` ≠ 0) or its first. Sessions made with what goes live to their end.
#[unsafe(no_mangle)]
pub extern "C" fn settle_keys(peer: u32, other: u32) -> i32 {
    let kept = if other == 0 { Which::First } else { Which::Other };
    answer(wipe::without_traces(|| device::with(|device| device.settle_keys(peer, kept))))
}

/// Has a handshake begin with the next [`tick`], also where there is a good session.
#[unsafe(no_mangle)]
pub extern "C" fn renew_session(peer: u32) -> i32 {
    answer(device::with(|device| device.renew_session(peer)))
}

/// Has a handshake begin with the next [`tick`] by an initiation to the endpoint in the control block. Where the peer answers
/// from, it is from then on; without an answer it stays where it was, and so does its data.
#[unsafe(no_mangle)]
pub extern "C" fn probe_endpoint(peer: u32) -> i32 {
    control(|block| {
        let endpoint = block.read_endpoint()?;
        device::with(|device| device.probe_endpoint(peer, endpoint)).map(|()| 0)
    })
}

/// Sends the `length` bytes in the control block to the host of a peer, through the tunnel. Returns how many messages
/// wait in the send column.
#[unsafe(no_mangle)]
pub extern "C" fn say(peer: u32, length: u32) -> i32 {
    control_of_keys(|block| {
        let message = block.take_message(length as usize)?;
        device::with(|device| device.say(peer, &message)).map(|count| count as i32)
    })
}

/// Moves the oldest message that a peer sent to this host into the control block: peer, then message. Returns the bytes
/// of both, 0 when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn heard() -> i32 {
    control(|block| Ok(device::with(|device| device.heard.pop()).map_or(0, |message| block.write(&message))))
}

/// A peer's persistent keepalive in seconds, 0 for none. Switched on, the first leaves with the next [`tick`].
#[unsafe(no_mangle)]
pub extern "C" fn set_keepalive(peer: u32, seconds: u32) -> i32 {
    match u16::try_from(seconds) {
        Ok(seconds) => answer(device::with(|device| device.set_keepalive(peer, seconds))),
        Err(_) => Refusal::BadArgument as i32,
    }
}

/// Gives a prefix (address in the control block, `family` 4 or 6) to a peer, taking it from whoever had it.
#[unsafe(no_mangle)]
pub extern "C" fn allow(peer: u32, family: u32, length: u32) -> i32 {
    control(|block| {
        let prefix = block.read_prefix(family, length)?;
        device::with(|device| device.allow(peer, prefix)).map(|()| 0)
    })
}

/// Takes a prefix from a peer. 1 if it had it, 0 if not.
#[unsafe(no_mangle)]
pub extern "C" fn disallow(peer: u32, family: u32, length: u32) -> i32 {
    control(|block| {
        let prefix = block.read_prefix(family, length)?;
        device::with(|device| device.disallow(peer, prefix)).map(i32::from)
    })
}

/// Writes a peer's status to the control block.
#[unsafe(no_mangle)]
pub extern "C" fn peer_status(peer: u32) -> i32 {
    control(|block| {
        let status = device::with(|device| device.status(peer))?;
        block.write_status(&status);
        Ok(0)
    })
}

/// Takes the first `count` datagrams of the receive column. Returns how many frames wait in the write column;
/// [`replies`] says how many messages wait in the send column. A datagram that goes no further is counted.
#[unsafe(no_mangle)]
pub extern "C" fn inbound(count: u32) -> i32 {
    if count as usize > RECEIVE_SLOTS {
        return Refusal::CountTooLarge as i32;
    }
    device::with_intake(|device, intake| device.inbound(intake, count as usize)) as i32
}

/// How many messages the last call left in the send column.
#[unsafe(no_mangle)]
pub extern "C" fn replies() -> i32 {
    device::with(|device| device.shared.send.count()) as i32
}

/// How many handshake messages wait for their Diffie-Hellman: while any do, the host calls [`handshakes`] after each
/// batch and does not sleep.
#[unsafe(no_mangle)]
pub extern "C" fn handshakes_waiting() -> u32 {
    device::with(|device| device.gate.waiting.count()) as u32
}

/// Works on waiting handshakes for about a millisecond, less while data flows. Returns how many messages wait in the
/// send column.
#[unsafe(no_mangle)]
pub extern "C" fn handshakes() -> i32 {
    wipe::without_traces(|| device::with(device::Device::handshakes)) as i32
}

/// Of whom a cookie is asked: 0 nobody, 1 sources that send more than 20 handshakes a second, 2 everyone.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> u32 {
    device::with(|device| device.gate.waiting.load(host::now())) as u32
}

/// Takes the first `count` frames of the read column. Returns how many messages wait in the send column.
#[unsafe(no_mangle)]
pub extern "C" fn outbound(count: u32) -> i32 {
    if count as usize > READ_SLOTS {
        return Refusal::CountTooLarge as i32;
    }
    device::with_intake(|device, intake| device.outbound(intake, count as usize)) as i32
}

/// How many frames the last [`outbound`] or [`release`] left in the write column: answers to packets that the policy denies,
/// or packets that have waited.
#[unsafe(no_mangle)]
pub extern "C" fn answers() -> i32 {
    device::with(|device| device.answers) as i32
}

/// When a packet that waits for the rate of its peer may leave, on the host's clock; infinite while none waits. Then the host
/// calls [`release`].
#[unsafe(no_mangle)]
pub extern "C" fn release_at() -> f64 {
    device::with(|device| device.release_at()).map_or(f64::INFINITY, |at| at as f64)
}

/// Lets go packets whose tokens have come. Returns how many messages wait in the send column; [`answers`] says how many
/// frames wait in the write column.
#[unsafe(no_mangle)]
pub extern "C" fn release() -> i32 {
    device::with(device::Device::release) as i32
}

/// Denies from now on what no policy allows, and so everything before the first. `picks_up` ≠ 0: TCP connections that may
/// have been there before are taken up for a minute where the policy allows them.
#[unsafe(no_mangle)]
pub extern "C" fn filter_enable(picks_up: u32) {
    device::with(|device| device.filter.enable(picks_up != 0, host::now()));
}

/// Lets everything pass from now on, and forgets the policy.
#[unsafe(no_mangle)]
pub extern "C" fn filter_disable() {
    device::with(|device| device.filter.disable());
}

/// Begins another change of the policy: what was written of one before is forgotten.
#[unsafe(no_mangle)]
pub extern "C" fn policy_begin() {
    device::with(|device| device.filter.begin());
}

/// Takes the first `bytes` of the control block as records of the change (`filter/decode.rs`). A record that cannot be makes
/// the whole change void ([`Refusal::BadPolicy`]).
#[unsafe(no_mangle)]
pub extern "C" fn policy_stage(bytes: u32) -> i32 {
    control(|block| {
        let records = block.bytes().get(..bytes as usize).ok_or(Refusal::CountTooLarge)?;
        device::with(|device| device.filter.stage(records)).map_err(|_| Refusal::BadPolicy)?;
        Ok(0)
    })
}

/// Makes the change current, all of it at once; flows are judged anew with their next packets. Refused
/// ([`Refusal::BadPolicy`]) if it is void or refers to what is not there, and then the policy stays as it was.
#[unsafe(no_mangle)]
pub extern "C" fn policy_commit() -> i32 {
    answer(device::with(device::Device::commit_policy))
}

/// Writes what there is to say of the filter to the control block.
#[unsafe(no_mangle)]
pub extern "C" fn filter_status() -> i32 {
    control(|block| {
        block.write_filter_status(&device::with(|device| device.filter.status()));
        Ok(0)
    })
}

/// Writes counters of denied packets to the control block, from row `start` on. Returns how many.
#[unsafe(no_mangle)]
pub extern "C" fn filter_drops(start: u32) -> i32 {
    control(|block| device::with(|device| Ok(block.write_drops(&device.filter, start as usize))))
}

/// Writes to the control block what was counted of peers, or of services (`of_services` ≠ 0), and has changed since it was
/// last written, from row `start` on. Returns how many rows.
#[unsafe(no_mangle)]
pub extern "C" fn filter_meters(of_services: u32, start: u32) -> i32 {
    control(|block| {
        device::with(|device| Ok(block.write_meters(&mut device.filter, of_services != 0, start as usize)))
    })
}

/// Moves entries of the drop log to the control block, oldest first. Returns how many.
#[unsafe(no_mangle)]
pub extern "C" fn filter_log() -> i32 {
    control(|block| device::with(|device| Ok(device.filter.take_log(block.bytes_mut()) as i32)))
}

/// Logs the packets of this peer, beside a sample of what is dropped, until it is called with 0 for `is_followed`.
#[unsafe(no_mangle)]
pub extern "C" fn filter_follow(peer: u32, is_followed: u32) {
    device::with(|device| device.filter.follow(peer, is_followed != 0));
}

/// Judges the first `length` bytes of the control block as a packet on a leg (0 in, 1 out) of a peer. `with_flows` = 0: as
/// the first of a flow, and nothing is remembered; the rule goes to the start of the control block, and the answer is the
/// stage, and 256 if it is allowed. Else as if the packet had come: 256 if it passes. 512 and the drop reason, if not for
/// the policy.
#[unsafe(no_mangle)]
pub extern "C" fn judge(leg: u32, peer: u32, length: u32, with_flows: u32) -> i32 {
    const ALLOWED: i32 = 256;
    const REASON: i32 = 512;
    let leg = match leg {
        0 => filter::Leg::In,
        1 => filter::Leg::Out,
        _ => return Refusal::BadArgument as i32,
    };
    control(|block| {
        let packet = block.bytes().get(..length as usize).ok_or(Refusal::CountTooLarge)?;
        if with_flows != 0 {
            let checked = device::with(|device| device.filter.pass(leg, peer, packet, host::now()));
            return Ok(checked.map_or_else(|reason| REASON + reason as i32, |_| ALLOWED));
        }
        match device::with(|device| device.filter.judge(leg, peer, packet)) {
            Ok(decision) => {
                block.write(&decision.rule.to_le_bytes());
                Ok(decision.stage as i32 + if decision.allows { ALLOWED } else { 0 })
            }
            Err(reason) => Ok(REASON + reason as i32),
        }
    })
}

/// Does what time alone makes due. Returns how many messages wait in the send column.
#[unsafe(no_mangle)]
pub extern "C" fn tick() -> i32 {
    wipe::without_traces(|| device::with(device::Device::tick)) as i32
}

/// Tells the core that among the first `count` messages just sent some had a stale source (status 1).
#[unsafe(no_mangle)]
pub extern "C" fn stale_sources(count: u32) {
    device::with(|device| device.stale_sources((count as usize).min(SEND_SLOTS)));
}

/// Writes the name of a drop counter to the control block and returns its length.
#[unsafe(no_mangle)]
pub extern "C" fn drop_reason_name(index: u32) -> i32 {
    control(|block| {
        let name = DropReason::NAMES.get(index as usize).ok_or(Refusal::BadArgument)?;
        Ok(block.write(name.as_bytes()))
    })
}

/// Puts in place of each of the first `count` addresses in the control block the id of the peer it belongs to. Returns how
/// many belong to one.
#[unsafe(no_mangle)]
pub extern "C" fn lookup(family: u32, count: u32) -> i32 {
    control(|block| device::with(|device| block.lookup(family, count as usize, &device.allowed_ips)))
}

/// Seals (`seal` ≠ 0) or opens what lies in the control block: for vectors and measurements of this build.
#[unsafe(no_mangle)]
pub extern "C" fn aead(seal: u32, aad_length: u32, text_length: u32) -> i32 {
    control(|block| block.aead(seal != 0, aad_length as usize, text_length as usize))
}

/// For the fuzzers in `wasm/fuzz`, whose build sets this.
#[cfg(any(test, fuzzing))]
pub mod fuzz;

#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod test_initiator;
#[cfg(test)]
mod test_random;
#[cfg(test)]
mod tests;
