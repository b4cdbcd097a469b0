// See udp.h.
#include "udp.h"

#include <arpa/inet.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tuntap2 {
namespace {

bool SetOption(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

// The FORCE form passes net.core.[rw]mem_max but needs CAP_NET_ADMIN; the plain one takes what it gets.
bool SetBuffer(int fd, int forced, int plain, int bytes) {
  return SetOption(fd, SOL_SOCKET, forced, bytes) || SetOption(fd, SOL_SOCKET, plain, bytes);
}

Failure Configure(int fd, const UdpOptions& options, OpenedUdp* opened) {
  const bool is_v6 = options.family == 6;
  if (is_v6 && !SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) return Failure{errno, "setsockopt(IPV6_V6ONLY)"};
  if (is_v6 && !SetOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)) {
    return Failure{errno, "setsockopt(IPV6_RECVPKTINFO)"};
  }
  if (!is_v6 && !SetOption(fd, IPPROTO_IP, IP_PKTINFO, 1)) return Failure{errno, "setsockopt(IP_PKTINFO)"};
  if (options.receive_buffer_bytes >= 0 &&
      !SetBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.receive_buffer_bytes)) {
    return Failure{errno, "setsockopt(SO_RCVBUF)"};
  }
  if (options.send_buffer_bytes >= 0 &&
      !SetBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.send_buffer_bytes)) {
    return Failure{errno, "setsockopt(SO_SNDBUF)"};
  }
  if (options.mark >= 0) {
    const Failure failure = SetMark(fd, static_cast<uint32_t>(options.mark));
    if (failure.happened()) return failure;
  }

  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  } address = {};
  socklen_t length = is_v6 ? sizeof(address.v6) : sizeof(address.v4);
  memset(&address, 0, sizeof(address));
  if (is_v6) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(options.port);
  } else {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(options.port);
  }
  if (bind(fd, &address.any, length) < 0) return Failure{errno, "bind"};
  if (getsockname(fd, &address.any, &length) < 0) return Failure{errno, "getsockname"};
  opened->port = ntohs(is_v6 ? address.v6.sin6_port : address.v4.sin_port);
  opened->gro = options.gro && SetOption(fd, IPPROTO_UDP, UDP_GRO, 1);
  int segment = 0;
  socklen_t bytes = sizeof(segment);
  opened->gso = getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, &bytes) == 0;
  return Failure{};
}

}  // namespace

Failure SetMark(int fd, uint32_t mark) {
  return SetOption(fd, SOL_SOCKET, SO_MARK, static_cast<int>(mark)) ? Failure{}
                                                                    : Failure{errno, "setsockopt(SO_MARK)"};
}

Failure OpenUdp(const UdpOptions& options, OpenedUdp* opened) {
  const int domain = options.family == 6 ? AF_INET6 : AF_INET;
  const int fd = socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0) return Failure{errno, "socket"};
  // IP_RECVERR stays off: with it, an ICMP error about one peer would fail the next send to another.
  const Failure failure = Configure(fd, options, opened);
  if (failure.happened()) {
    close(fd);
  } else {
    opened->fd = fd;
  }
  return failure;
}

}  // namespace tuntap2
