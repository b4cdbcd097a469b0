// UDP sockets: opening one. Batches of datagrams are in udp_batch.h. Knows no JavaScript value.
#ifndef TUNTAP2_UDP_H_
#define TUNTAP2_UDP_H_

#include <netinet/udp.h>

#include <cstdint>

#include "failure.h"

// In the headers of Linux 4.18 and 5.0.
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace tuntap2 {

struct UdpOptions {
  int family = 4;     // 4 or 6
  uint16_t port = 0;  // 0 = any
  int receive_buffer_bytes =
      -1;  // -1 = as the host has it; the kernel doubles the number for its own bookkeeping
  int send_buffer_bytes = -1;  // "
  int64_t mark = -1;           // SO_MARK, 32 bit unsigned; -1 = none
  bool gro = false;            // UDP_GRO, where the kernel has it
};

struct OpenedUdp {
  int fd = -1;
  uint16_t port = 0;  // the real one
  bool gro = false;   // datagrams of one flow may come joined, as a train
  bool gso = false;   // trains may be sent
};

// SO_MARK of a socket that is open, for all it sends from now on; 0 = none. Needs CAP_NET_ADMIN.
Failure SetMark(int fd, uint32_t mark);

// A socket bound to any address of one family, that tells and takes the local address of each datagram
// (PKTINFO). Non-blocking, close-on-exec; the caller owns the fd.
Failure OpenUdp(const UdpOptions& options, OpenedUdp* opened);

}  // namespace tuntap2

#endif  // TUNTAP2_UDP_H_
