// Waiting: the eventfd that wakes a lane, the clock, and the epoll set over TUN, UDP and event.
#ifndef TUNTAP2_POLL_H_
#define TUNTAP2_POLL_H_

#include <cstdint>

#include "failure.h"
#include "faults.h"

namespace tuntap2 {

// What wait() reports. Twin: READY in batch-io.ts.
namespace ready {
inline constexpr uint32_t kTun = 1;
inline constexpr uint32_t kUdp4 = 2;
inline constexpr uint32_t kUdp6 = 4;
inline constexpr uint32_t kWoken = 8;
inline constexpr uint32_t kTunGone = 16;
inline constexpr uint32_t kLink = 32;
}  // namespace ready

// An eventfd, non-blocking and close-on-exec. Returns the descriptor in *fd; the caller owns it.
Failure OpenEvent(int* fd);

// CLOCK_BOOTTIME in milliseconds: monotonic, and counts through suspend, as session ages must.
double NowMs();

// The descriptors of one batch, borrowed from whoever opened them; -1 = absent.
struct BatchDescriptors {
  int tun = -1;
  int udp4 = -1;
  int udp6 = -1;
  int event = -1;
};

// An epoll set. Owns only its epoll descriptor.
class Poller {
 public:
  Poller() = default;
  ~Poller() { Close(); }
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  Failure Open(const BatchDescriptors& descriptors);

  // Sleeps until something is ready or `timeout_ms` has passed; negative = for ever, fractions are honoured.
  // Returns bits of `ready`, or a negative errno; 0 when the time is over or a signal came. Drains the
  // eventfd.
  int Wait(double timeout_ms, FaultTable* faults);

  // Reports `bit` when `fd` is readable; -1 is nothing to watch.
  Failure Watch(int fd, uint32_t bit);

  // A descriptor that is closed leaves the set by itself.
  void Unwatch(int fd);

  void Close();

 private:
  int epoll_ = -1;
  int event_ = -1;
};

}  // namespace tuntap2

#endif  // TUNTAP2_POLL_H_
