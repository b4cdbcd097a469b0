// See tun.h. Facts about the driver are from drivers/net/tun.c in Linux 6.x.
#include "tun.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tuntap2 {

Failure OpenTun(const char* name, bool exclusive, OpenedTun* opened) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return Failure{errno, "open"};
  ifreq request = {};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  // IFF_TUN_EXCL is the sign bit of the short that carries the flags.
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | (exclusive ? IFF_TUN_EXCL : 0));
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    const Failure failure{errno, "ioctl(TUNSETIFF)"};
    close(fd);
    return failure;
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

int ReadFrames(int fd, const Column<FrameEntry>& column, FaultTable* faults) {
  uint32_t filled = 0;
  int error = 0;
  // One read per slot bounds the call even on a descriptor that keeps answering 0.
  for (uint32_t reads = 0; reads < column.slots(); ++reads) {
    FrameEntry entry = column.Load(filled);
    if (!column.memory().Holds(entry.offset, entry.capacity)) {
      error = EFAULT;
      break;
    }
    // A frame longer than the slot is cut by the driver with no sign of it: the owner makes slots as large as
    // the MTU.
    const ssize_t length = read(fd, column.memory().At(entry.offset), entry.capacity);
    if (length < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) error = errno;
      break;
    }
    if (length == 0) continue;
    entry.length = static_cast<uint32_t>(length);
    entry.status = 0;
    column.Store(filled++, entry);
  }
  if (error != 0) faults->Count(call::kRead, error);
  return filled == 0 ? -error : static_cast<int>(filled);
}

int WriteFrames(int fd, const Column<FrameEntry>& column, uint32_t count, FaultTable* faults) {
  int written = 0;
  for (uint32_t index = 0; index < count; ++index) {
    const FrameEntry entry = column.Load(index);
    int error = 0;
    if (!column.memory().Holds(entry.offset, entry.length)) {
      error = EFAULT;
    } else {
      ssize_t length;
      do {
        length = write(fd, column.memory().At(entry.offset),
                       entry.length);  // the driver takes all of a frame or none
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
