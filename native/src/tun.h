// TUN interfaces: opening one, its name, and frames between it and the frame columns. Knows no JavaScript
// value.
#ifndef TUNTAP2_TUN_H_
#define TUNTAP2_TUN_H_

#include <net/if.h>

#include "columns.h"
#include "failure.h"
#include "faults.h"

namespace tuntap2 {

struct TunOptions {
  bool exclusive = false;    // refuse an interface that exists
  bool vnet_header = false;  // ten bytes of virtio_net_hdr before each frame
  // With vnet headers: which superpackets may pass, where the kernel has them. With either, checksums are
  // left to the other side.
  bool tcp_offload = false;
  bool udp_offload = false;
};

struct OpenedTun {
  int fd = -1;
  bool vnet_header = false;  // each frame has ten bytes of virtio_net_hdr before it
  bool tcp_offload = false;  // TCP superpackets pass
  bool udp_offload = false;  // and UDP ones, from Linux 6.2
  char name[IFNAMSIZ] = {};  // what the kernel called it
};

// Opens /dev/net/tun and attaches it to the interface `name` (less than IFNAMSIZ bytes; "" and "wg%d" let the
// kernel choose), made if it is not there. Non-blocking, close-on-exec; the caller owns the fd.
Failure OpenTun(const char* name, const TunOptions& options, OpenedTun* opened);

// Takes a descriptor that somebody has attached to a TUN interface, with the offloads that it can have: it
// becomes non-blocking and close-on-exec. EINVAL if its frames are not bare IP packets, with or without a
// virtio_net_hdr. The caller owns the fd.
Failure AdoptTun(int fd, const TunOptions& options, OpenedTun* opened);

// The present name of the interface behind a TUN descriptor: it may have been renamed since.
Failure TunName(int fd, char name[IFNAMSIZ]);

// Reads one frame per slot, from slot 0, until there is none, every slot is full, or kBatchBytes were read.
// Sets `length` and `status` 0. Returns how many slots were filled, or a negative errno if that is the reason
// why none was.
// `adds_header` puts ten zero bytes before each: a virtio_net_hdr that the interface itself has not.
int ReadFrames(int fd, bool adds_header, const Column<FrameEntry>& column, FaultTable* faults);

// Writes the frames of the first `count` entries, count <= column.slots(): an entry whose `capacity` is not 0
// goes on in the next, and one write gathers them. A frame that the kernel refuses gets its negative errno as
// the `status` of its last entry; the others get 0. Returns how many frames were written.
// With `adds_header` the ten bytes before each stay behind.
int WriteFrames(int fd, bool adds_header, const Column<FrameEntry>& column, uint32_t count,
                FaultTable* faults);

}  // namespace tuntap2

#endif  // TUNTAP2_TUN_H_
