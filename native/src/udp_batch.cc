// See udp_batch.h.
#include "udp_batch.h"

#include <arpa/inet.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "poll.h"
#include "udp.h"

namespace tuntap2 {
namespace {

// A full send buffer empties within microseconds unless the link is far slower than the sender. The budget is
// per call of Send, so that a stuck link costs a lane 8 ms per batch and not per datagram.
constexpr int kPatienceMs = 1;
constexpr uint32_t kWaitsPerSend = 8;

// With IP_PKTINFO the sender names its address; these are what the kernel answers when the host no longer has
// it.
bool MayBeStaleLocal(int error) { return error == EINVAL || error == ENETUNREACH || error == EADDRNOTAVAIL; }

bool IsZero(const uint8_t (&address)[16]) {
  return std::all_of(std::begin(address), std::end(address), [](uint8_t byte) { return byte == 0; });
}

// What the kernel tells beside a datagram: the size of the datagrams it joined, and the local address. For
// IPv4 that is ipi_spec_dst: ipi_addr may be a broadcast address, which no answer can leave from.
void ReadControl(const msghdr& header, DatagramEntry* entry) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr;
       control = CMSG_NXTHDR(const_cast<msghdr*>(&header), control)) {
    if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof(info));
      memcpy(entry->local, &info.ipi_spec_dst, sizeof(info.ipi_spec_dst));
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof(info));
      memcpy(entry->local, &info.ipi6_addr, sizeof(info.ipi6_addr));
    } else if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO) {
      int segment = 0;
      memcpy(&segment, CMSG_DATA(control), sizeof(segment));
      if (segment > 0) entry->segment = static_cast<uint32_t>(segment);
    }
  }
}

// Adds one control message behind those the header has; its buffer has room for one of each kind.
template <typename Value>
void AddControl(msghdr* header, int level, int type, const Value& value) {
  cmsghdr* const control =
      reinterpret_cast<cmsghdr*>(static_cast<uint8_t*>(header->msg_control) + header->msg_controllen);
  header->msg_controllen += CMSG_SPACE(sizeof(Value));
  control->cmsg_len = CMSG_LEN(sizeof(Value));
  control->cmsg_level = level;
  control->cmsg_type = type;
  memcpy(CMSG_DATA(control), &value, sizeof(Value));
}

void AddLocal(uint16_t family, const uint8_t (&local)[16], msghdr* header) {
  if (family == 4) {
    in_pktinfo info = {};
    memcpy(&info.ipi_spec_dst, local, sizeof(info.ipi_spec_dst));
    AddControl(header, IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info = {};  // interface 0: a link-local remote names its own by scope
    memcpy(&info.ipi6_addr, local, sizeof(info.ipi6_addr));
    AddControl(header, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
}

void AddSegment(uint32_t segment, msghdr* header) {
  if (segment != 0) AddControl(header, IPPROTO_UDP, UDP_SEGMENT, static_cast<uint16_t>(segment));
}

}  // namespace

UdpBatch::UdpBatch(int udp4, int udp6) : udp4_(udp4), udp6_(udp6) {
  for (uint32_t at = 0; at < kBatch; ++at) {
    msghdr& header = messages_[at].msg_hdr;
    header.msg_iov = &payloads_[at];
    header.msg_iovlen = 1;
    header.msg_name = &addresses_[at];
    header.msg_control = &controls_[at];
  }
}

int UdpBatch::Receive(const Column<DatagramEntry>& column, uint32_t ready, FaultTable* faults) {
  const uint16_t families[2] = {4, 6};
  const int sockets[2] = {(ready & ready::kUdp4) != 0 ? udp4_ : -1, (ready & ready::kUdp6) != 0 ? udp6_ : -1};
  bool is_drained[2] = {sockets[0] < 0, sockets[1] < 0};
  // A quarter of the slots at most: a flood on one family leaves the other its turn, the first turn
  // alternates, and a batch of trains ends soon after kBatchBytes.
  const uint32_t quantum = std::clamp(column.slots() / 4, 1u, kBatch);
  uint32_t turn = turn_;
  turn_ ^= 1;

  uint32_t taken = 0;  // bounds the call, also when what comes is dropped
  uint32_t filled = 0;
  uint32_t bytes = 0;
  int error = 0;
  while (taken < column.slots() && bytes < kBatchBytes && !(is_drained[0] && is_drained[1])) {
    if (!is_drained[turn]) {
      // At first as many as came last time and one more: each that is prepared in vain costs cache misses.
      const uint32_t likely = taken == 0 ? std::min(quantum, last_taken_ + 1) : quantum;
      const uint32_t want = std::min(likely, column.slots() - taken);
      const Taken some = ReceiveSome(sockets[turn], families[turn], column, filled, want, faults);
      taken += some.datagrams;
      filled += some.filled;
      bytes += some.bytes;
      if (some.error != 0) error = some.error;
      is_drained[turn] = some.is_drained;
    }
    turn ^= 1;
  }
  last_taken_ = taken;
  return filled == 0 ? -error : static_cast<int>(filled);
}

UdpBatch::Taken UdpBatch::ReceiveSome(int fd, uint16_t family, const Column<DatagramEntry>& column,
                                      uint32_t first, uint32_t want, FaultTable* faults) {
  Taken taken;
  uint32_t prepared = 0;
  for (; prepared < want; ++prepared) {
    const DatagramEntry entry = column.Load(first + prepared);
    if (!column.memory().Holds(entry.offset, entry.capacity)) {
      taken.error = EFAULT;
      break;
    }
    payloads_[prepared] = {column.memory().At(entry.offset), entry.capacity};
    msghdr& header = messages_[prepared].msg_hdr;
    header.msg_namelen = sizeof(SocketAddress);
    header.msg_controllen = sizeof(Control);
    header.msg_flags = 0;
  }

  int received = 0;
  if (prepared > 0) {
    do {
      received = recvmmsg(fd, messages_, prepared, MSG_DONTWAIT, nullptr);
    } while (received < 0 && errno == EINTR);
    if (received < 0 && errno != EAGAIN) taken.error = errno;
  }
  if (taken.error != 0) faults->Count(call::kReceive, taken.error);
  if (received > 0) {
    taken.datagrams = static_cast<uint32_t>(received);
    taken.filled = Keep(family, column, first, taken.datagrams, faults);
    for (uint32_t at = 0; at < taken.datagrams; ++at) taken.bytes += messages_[at].msg_len;
  }
  // Fewer than asked for: the queue was empty, or an error ended the batch. epoll is level-triggered and
  // tells again.
  taken.is_drained = taken.datagrams < want;
  return taken;
}

// Turns the first `count` messages into entries from `first` on, without gaps. Returns how many.
uint32_t UdpBatch::Keep(uint16_t family, const Column<DatagramEntry>& column, uint32_t first, uint32_t count,
                        FaultTable* faults) {
  uint32_t kept = 0;
  for (uint32_t at = 0; at < count; ++at) {
    const mmsghdr& message = messages_[at];
    // After a dropped datagram the later ones move down a slot. That copies, because entries keep their
    // slots; it is rare, and whoever floods us with oversized datagrams pays more for each.
    if ((message.msg_hdr.msg_flags & MSG_TRUNC) != 0 || message.msg_len > payloads_[kept].iov_len) {
      faults->Count(call::kReceive, EMSGSIZE);
      continue;
    }
    if (kept != at) memmove(payloads_[kept].iov_base, payloads_[at].iov_base, message.msg_len);

    DatagramEntry entry = column.Load(first + kept);
    entry.length = message.msg_len;
    entry.status = 0;
    entry.family = family;
    memset(entry.remote, 0, sizeof(entry.remote));
    memset(entry.local, 0, sizeof(entry.local));
    if (family == 4) {
      const sockaddr_in& remote = addresses_[at].v4;
      entry.port = ntohs(remote.sin_port);
      entry.scope = 0;
      memcpy(entry.remote, &remote.sin_addr, sizeof(remote.sin_addr));
    } else {
      const sockaddr_in6& remote = addresses_[at].v6;
      entry.port = ntohs(remote.sin6_port);
      entry.scope = remote.sin6_scope_id;
      memcpy(entry.remote, &remote.sin6_addr, sizeof(remote.sin6_addr));
    }
    entry.segment = 0;
    ReadControl(message.msg_hdr, &entry);
    column.Store(first + kept, entry);
    ++kept;
  }
  return kept;
}

int UdpBatch::Descriptor(uint16_t family) const { return family == 4 ? udp4_ : family == 6 ? udp6_ : -1; }

int UdpBatch::Send(const Column<DatagramEntry>& column, uint32_t count, FaultTable* faults) {
  last_stale_ = 0;
  patience_ = kWaitsPerSend;
  int sent = 0;
  uint32_t in_run = 0;
  uint16_t family = 0;
  for (uint32_t index = 0; index < count; ++index) {
    const DatagramEntry entry = column.Load(index);
    const int error = Descriptor(entry.family) < 0                         ? EAFNOSUPPORT
                      : !column.memory().Holds(entry.offset, entry.length) ? EFAULT
                                                                           : 0;
    if (error != 0) {
      column.StoreStatus(index, -error);
      faults->Count(call::kSend, error);
      continue;
    }
    if (in_run == kBatch || (in_run > 0 && entry.family != family)) {
      sent += SendRun(Descriptor(family), column, in_run, faults);
      in_run = 0;
    }
    family = entry.family;
    indexes_[in_run] = index;
    Prepare(in_run++, column.memory(), entry);
  }
  if (in_run > 0) sent += SendRun(Descriptor(family), column, in_run, faults);
  return sent;
}

void UdpBatch::Prepare(uint32_t at, const Memory& memory, const DatagramEntry& entry) {
  msghdr& header = messages_[at].msg_hdr;
  payloads_[at] = {memory.At(entry.offset), entry.length};
  SocketAddress& address = addresses_[at];
  memset(&address, 0, sizeof(address));
  if (entry.family == 4) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(entry.port);
    memcpy(&address.v4.sin_addr, entry.remote, sizeof(address.v4.sin_addr));
    header.msg_namelen = sizeof(address.v4);
  } else {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(entry.port);
    address.v6.sin6_scope_id = entry.scope;
    memcpy(&address.v6.sin6_addr, entry.remote, sizeof(address.v6.sin6_addr));
    header.msg_namelen = sizeof(address.v6);
  }
  const bool is_train = entry.segment != 0 && entry.length > entry.segment;
  segments_[at] = is_train ? entry.segment : 0;
  header.msg_controllen = 0;
  header.msg_flags = 0;
  has_local_[at] = !IsZero(entry.local);
  if (has_local_[at]) AddLocal(entry.family, entry.local, &header);
  as_train_[at] = is_train && gso_works_;
  if (as_train_[at]) AddSegment(segments_[at], &header);
}

// Takes the request for segmentation out of a prepared message: it was added last.
void UdpBatch::DropSegment(uint32_t at) {
  if (as_train_[at]) messages_[at].msg_hdr.msg_controllen -= CMSG_SPACE(sizeof(uint16_t));
  as_train_[at] = false;
}

// Sends what one call can from the message at `at` on. Returns how many messages left, or -1 with errno.
int UdpBatch::SendSome(int fd, uint32_t at, uint32_t count) {
  const auto leaves_singly = [this](uint32_t index) { return segments_[index] != 0 && !as_train_[index]; };
  if (leaves_singly(at)) return SendSingly(fd, at) ? 1 : -1;
  uint32_t end = at;
  while (end < count && !leaves_singly(end)) ++end;
  return sendmmsg(fd, &messages_[at], end - at, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Sends the datagrams of a train one by one. False with errno when one fails; those before it have left, and
// the rest is all that is left to try again.
bool UdpBatch::SendSingly(int fd, uint32_t at) {
  iovec& payload = payloads_[at];
  const iovec train = payload;
  for (size_t done = 0; done < train.iov_len; done += segments_[at]) {
    payload.iov_base = static_cast<uint8_t*>(train.iov_base) + done;
    payload.iov_len = std::min<size_t>(segments_[at], train.iov_len - done);
    if (sendmsg(fd, &messages_[at].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      payload.iov_len = train.iov_len - done;
      return false;
    }
  }
  return true;
}

// Sends the first `count` prepared messages over one socket. sendmmsg stops at the first message that fails
// and tells why only when that message is the first it looks at, so each turn of the loop either sends some,
// or deals with the one at `at`: again after a wait, again without its local address, or given up.
int UdpBatch::SendRun(int fd, const Column<DatagramEntry>& column, uint32_t count, FaultTable* faults) {
  int sent = 0;
  int32_t success = 0;  // the status that the message at `at` will get
  uint32_t at = 0;
  while (at < count) {
    const int accepted = SendSome(fd, at, count);
    if (accepted > 0) {
      for (int i = 0; i < accepted; ++i) {
        column.StoreStatus(indexes_[at++], success);
        success = 0;
      }
      sent += accepted;
      continue;
    }
    const int error = errno;
    if (error == EINTR) continue;
    // What the kernel says to a train (Linux net/ipv4/udp.c, udp_send_skb): EIO, the device cannot make
    // checksums, so no train will ever leave; EMSGSIZE, before 6.13 EINVAL, a datagram of it is larger than
    // the way there takes, which is no fault of a datagram alone: that one the kernel sends in fragments.
    if (as_train_[at] && (error == EIO || error == EMSGSIZE || error == EINVAL)) {
      faults->Count(call::kSend, error);
      DropSegment(at);
      if (error != EIO) continue;
      gso_works_ = false;
      for (uint32_t later = at; later < count; ++later) DropSegment(later);
      continue;
    }
    if ((error == EAGAIN || error == ENOBUFS) && patience_ > 0) {
      --patience_;
      // ENOBUFS is a full device queue, of which POLLOUT knows nothing: then the time passes in full.
      pollfd room = {fd, static_cast<short>(error == EAGAIN ? POLLOUT : 0), 0};
      poll(&room, 1, kPatienceMs);
      continue;
    }
    msghdr& header = messages_[at].msg_hdr;
    if (MayBeStaleLocal(error) && has_local_[at]) {
      has_local_[at] = false;
      header.msg_controllen = 0;
      if (as_train_[at]) AddSegment(segments_[at], &header);
      success = kSentWithoutLocal;
      ++last_stale_;
      continue;
    }
    if (success == kSentWithoutLocal) --last_stale_;  // it was not the local address after all
    success = 0;
    column.StoreStatus(indexes_[at++], -error);
    faults->Count(call::kSend, error);
  }
  return sent;
}

}  // namespace tuntap2
