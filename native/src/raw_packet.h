// One IP packet that this host sends as a user of it: what a rule about users on the way out sees.
#ifndef TUNTAP2_RAW_PACKET_H_
#define TUNTAP2_RAW_PACKET_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "failure.h"

namespace tuntap2 {

// The longest packet that is taken: a header with ports and something to know it by.
constexpr size_t kMaxRawPacketBytes = 1280;

// Sends `packet`, from its IPv4 or IPv6 header on, through a raw socket of the user `uid`. Needs CAP_SETUID
// for another user than the process's own, and CAP_NET_RAW. `sendto` with EPERM means that a rule of this
// host dropped it.
Failure SendPacketAs(uid_t uid, const uint8_t* packet, size_t length);

}  // namespace tuntap2

#endif  // TUNTAP2_RAW_PACKET_H_
