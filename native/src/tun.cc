// See tun.h. Facts about the driver are from drivers/net/tun.c in Linux 6.x.
#include "tun.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

// In the headers of Linux 6.2 and later.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace tuntap2 {
namespace {

// The pieces of one superpacket: a header and as many payloads as a kernel takes segments.
constexpr uint32_t kMostPieces = 128;
// virtio_net_hdr, as it is without TUNSETVNETHDRSZ.
constexpr uint32_t kHeaderBytes = 10;

// Tells the kernel what it may leave to us: first with UDP, which Linux offers from 6.2, then without. Told
// also when that is nothing, for an interface that was there may have had more.
void SetOffloads(int fd, const TunOptions& options, OpenedTun* opened) {
  const unsigned tcp = options.tcp_offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;
  constexpr unsigned kUdp = TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6;
  opened->udp_offload = options.udp_offload && ioctl(fd, TUNSETOFFLOAD, tcp | kUdp) == 0;
  const bool is_set = opened->udp_offload || ioctl(fd, TUNSETOFFLOAD, tcp) == 0;
  opened->tcp_offload = options.tcp_offload && is_set;
}

}  // namespace

Failure OpenTun(const char* name, const TunOptions& options, OpenedTun* opened) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return Failure{errno, "open"};
  ifreq request = {};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  // IFF_TUN_EXCL is the sign bit of the short that carries the flags.
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | (options.exclusive ? IFF_TUN_EXCL : 0) |
                                         (options.vnet_header ? IFF_VNET_HDR : 0));
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    const Failure failure{errno, "ioctl(TUNSETIFF)"};
    close(fd);
    return failure;
  }
  opened->vnet_header = options.vnet_header;
  if (options.vnet_header) SetOffloads(fd, options, opened);
  opened->fd = fd;
  memcpy(opened->name, request.ifr_name, IFNAMSIZ);
  opened->name[IFNAMSIZ - 1] = '\0';
  return Failure{};
}

Failure AdoptTun(int fd, const TunOptions& options, OpenedTun* opened) {
  ifreq request = {};
  if (ioctl(fd, TUNGETIFF, &request) < 0) return Failure{errno, "ioctl(TUNGETIFF)"};
  constexpr int kKind = IFF_TUN | IFF_TAP | IFF_NO_PI;
  if ((request.ifr_flags & kKind) != (IFF_TUN | IFF_NO_PI)) return Failure{EINVAL, "ioctl(TUNGETIFF)"};
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    return Failure{errno, "fcntl"};
  }
  opened->vnet_header = (request.ifr_flags & IFF_VNET_HDR) != 0;
  if (opened->vnet_header) {
    int bytes = kHeaderBytes;
    if (ioctl(fd, TUNSETVNETHDRSZ, &bytes) < 0) return Failure{errno, "ioctl(TUNSETVNETHDRSZ)"};
    SetOffloads(fd, options, opened);
  }
  opened->fd = fd;
  memcpy(opened->name, request.ifr_name, IFNAMSIZ);
  opened->name[IFNAMSIZ - 1] = '\0';
  return Failure{};
}

Failure TunName(int fd, char name[IFNAMSIZ]) {
  ifreq request = {};
  if (ioctl(fd, TUNGETIFF, &request) < 0) return Failure{errno, "ioctl(TUNGETIFF)"};
  memcpy(name, request.ifr_name, IFNAMSIZ);
  name[IFNAMSIZ - 1] = '\0';
  return Failure{};
}

int ReadFrames(int fd, bool adds_header, const Column<FrameEntry>& column, FaultTable* faults) {
  uint32_t filled = 0;
  uint32_t bytes = 0;
  const uint32_t missing = adds_header ? kHeaderBytes : 0;
  int error = 0;
  // One read per slot bounds the call even on a descriptor that keeps answering 0.
  for (uint32_t reads = 0; reads < column.slots() && bytes < kBatchBytes; ++reads) {
    FrameEntry entry = column.Load(filled);
    if (entry.capacity < missing || !column.memory().Holds(entry.offset, entry.capacity)) {
      error = EFAULT;
      break;
    }
    // A frame longer than the slot is cut by the driver with no sign of it: the owner makes slots as large as
    // the MTU.
    uint8_t* const place = column.memory().At(entry.offset);
    const ssize_t length = read(fd, place + missing, entry.capacity - missing);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) error = errno;
      break;
    }
    if (length == 0) continue;
    memset(place, 0, missing);
    entry.length = static_cast<uint32_t>(length) + missing;
    entry.status = 0;
    bytes += entry.length;
    column.Store(filled++, entry);
  }
  if (error != 0) faults->Count(call::kRead, error);
  return filled == 0 ? -error : static_cast<int>(filled);
}

int WriteFrames(int fd, bool adds_header, const Column<FrameEntry>& column, uint32_t count,
                FaultTable* faults) {
  iovec pieces[kMostPieces];
  int written = 0;
  for (uint32_t index = 0; index < count; ++index) {
    uint32_t piece_count = 0;
    int error = 0;
    for (bool goes_on = true; goes_on && index < count;) {
      const FrameEntry entry = column.Load(index);
      const uint32_t skipped = adds_header && piece_count == 0 ? kHeaderBytes : 0;
      if (entry.length < skipped || !column.memory().Holds(entry.offset, entry.length)) {
        error = EFAULT;
      } else if (piece_count == kMostPieces) {
        error = EMSGSIZE;
      } else {
        pieces[piece_count++] = {column.memory().At(entry.offset) + skipped, entry.length - skipped};
      }
      goes_on = entry.capacity != 0 && index + 1 < count;
      if (goes_on) ++index;
    }
    if (error == 0) {
      ssize_t length;
      do {
        length =
            writev(fd, pieces, static_cast<int>(piece_count));  // the driver takes all of a frame or none
      } while (length < 0 && errno == EINTR);
      if (length < 0) error = errno;
    }
    column.StoreStatus(index, -error);
    if (error == 0) {
      ++written;
    } else {
      faults->Count(call::kWrite, error);
    }
  }
  return written;
}

}  // namespace tuntap2
