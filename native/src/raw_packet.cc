// See raw_packet.h.
#include "raw_packet.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tuntap2 {
namespace {

// The user of a socket is the file system user of the thread that made it (sock->file->f_cred->fsuid, which
// nft's `meta skuid` and xt_owner read). It is a thread's alone (setfsuid(2)), so no other thread acts as
// somebody else meanwhile.
int RawSocketOf(uid_t uid, int family, Failure* failure) {
  const int former = setfsuid(uid);
  int fd = -1;
  if (static_cast<uid_t>(setfsuid(static_cast<uid_t>(-1))) == uid) {
    fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
    if (fd < 0) *failure = {errno, "socket"};
  } else {
    *failure = {EPERM, "setfsuid"};  // which itself tells nothing
  }
  setfsuid(static_cast<uid_t>(former));
  return fd;
}

}  // namespace

Failure SendPacketAs(uid_t uid, const uint8_t* packet, size_t length) {
  sockaddr_storage to = {};
  socklen_t to_bytes = 0;
  if (length >= sizeof(iphdr) && packet[0] >> 4 == 4) {
    auto* address = reinterpret_cast<sockaddr_in*>(&to);
    address->sin_family = AF_INET;
    std::memcpy(&address->sin_addr, packet + offsetof(iphdr, daddr), sizeof(address->sin_addr));
    to_bytes = sizeof(*address);
  } else if (length >= sizeof(ip6_hdr) && packet[0] >> 4 == 6) {
    auto* address = reinterpret_cast<sockaddr_in6*>(&to);
    address->sin6_family = AF_INET6;
    std::memcpy(&address->sin6_addr, packet + offsetof(ip6_hdr, ip6_dst), sizeof(address->sin6_addr));
    to_bytes = sizeof(*address);
  } else {
    return {EINVAL, "sendto"};
  }

  Failure failure;
  const int fd = RawSocketOf(uid, to.ss_family, &failure);
  if (fd < 0) return failure;
  ssize_t sent;
  do {
    sent = sendto(fd, packet, length, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), to_bytes);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) failure = {errno, "sendto"};
  close(fd);
  return failure;
}

}  // namespace tuntap2
