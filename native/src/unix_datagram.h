// One datagram to a Unix socket, which node:net has no way to send.
#ifndef TUNTAP2_UNIX_DATAGRAM_H_
#define TUNTAP2_UNIX_DATAGRAM_H_

#include <sys/un.h>

#include <string>

#include "failure.h"

namespace tuntap2 {

// The longest address: a path needs its zero byte, a name in the abstract namespace the one before it.
constexpr size_t kMaxUnixAddressBytes = sizeof(sockaddr_un::sun_path) - 1;

// Sends `text` whole to the socket at `address`: a path, or a name in the abstract namespace after an `@`.
// Waits while the receiver's queue is full. `address` is at most kMaxUnixAddressBytes long.
Failure SendUnixDatagram(const std::string& address, const std::string& text);

}  // namespace tuntap2

#endif  // TUNTAP2_UNIX_DATAGRAM_H_
