// See poll.h.
#include "poll.h"

#include <linux/time_types.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <ctime>

namespace tuntap2 {
namespace {

constexpr int kMaxEvents = 5;                  // TUN, UDP over IPv4, UDP over IPv6, event, link
constexpr double kLongestWaitMs = 2147483647;  // what epoll_wait can express: 24 days

// The number is the same on every architecture; older C libraries do not name it.
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

// epoll_pwait2 came with Linux 5.11. ENOSYS is an older kernel, EPERM a seccomp profile written before it:
// epoll_wait itself never fails with EPERM.
std::atomic<bool> has_epoll_pwait2{true};

int WaitRoundedUp(int epoll, epoll_event* events, double timeout_ms) {
  return epoll_wait(epoll, events, kMaxEvents, timeout_ms < 0 ? -1 : static_cast<int>(std::ceil(timeout_ms)));
}

int WaitExactly(int epoll, epoll_event* events, double timeout_ms) {
  if (!has_epoll_pwait2.load(std::memory_order_relaxed)) return WaitRoundedUp(epoll, events, timeout_ms);
  __kernel_timespec timeout = {};
  if (timeout_ms >= 0) {
    const double seconds = std::floor(timeout_ms / 1000);
    timeout.tv_sec = static_cast<int64_t>(seconds);
    // Below 999 999 999 even where the remainder rounds to a full second.
    timeout.tv_nsec =
        static_cast<int64_t>(std::fmin(999999999, std::ceil((timeout_ms - seconds * 1000) * 1e6)));
  }
  const long ready = syscall(SYS_epoll_pwait2, epoll, events, kMaxEvents, timeout_ms < 0 ? nullptr : &timeout,
                             nullptr, size_t{0});
  if (ready < 0 && (errno == ENOSYS || errno == EPERM)) {
    has_epoll_pwait2.store(false, std::memory_order_relaxed);
    return WaitRoundedUp(epoll, events, timeout_ms);
  }
  return static_cast<int>(ready);
}

}  // namespace

Failure OpenEvent(int* fd) {
  *fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return *fd < 0 ? Failure{errno, "eventfd"} : Failure{};
}

double NowMs() {
  timespec now = {};
  clock_gettime(CLOCK_BOOTTIME, &now);  // cannot fail: the clock exists since 2.6.39, the pointer is good
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

Failure Poller::Open(const BatchDescriptors& descriptors) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return Failure{errno, "epoll_create1"};
  event_ = descriptors.event;
  Failure failure = Watch(descriptors.tun, ready::kTun);
  if (!failure.happened()) failure = Watch(descriptors.udp4, ready::kUdp4);
  if (!failure.happened()) failure = Watch(descriptors.udp6, ready::kUdp6);
  if (!failure.happened()) failure = Watch(descriptors.event, ready::kWoken);
  if (failure.happened()) Close();
  return failure;
}

Failure Poller::Watch(int fd, uint32_t bit) {
  if (fd < 0) return Failure{};
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u32 = bit;
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0 ? Failure{} : Failure{errno, "epoll_ctl"};
}

void Poller::Unwatch(int fd) {
  if (fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

int Poller::Wait(double timeout_ms, FaultTable* faults) {
  epoll_event events[kMaxEvents];
  const int count = WaitExactly(epoll_, events, std::fmin(timeout_ms, kLongestWaitMs));
  if (count < 0) {
    if (errno == EINTR) return 0;
    faults->Count(call::kWait, errno);
    return -errno;
  }
  uint32_t bits = 0;
  for (int i = 0; i < count; ++i) {
    const uint32_t bit = events[i].data.u32;
    const uint32_t what = events[i].events;
    // A UDP socket with an error is "readable": reading takes the error off it. A TUN in error has lost its
    // interface.
    if (bit != ready::kTun || (what & EPOLLIN) != 0) bits |= bit;
    if (bit == ready::kTun && (what & (EPOLLERR | EPOLLHUP)) != 0) bits |= ready::kTunGone;
  }
  if ((bits & ready::kWoken) != 0) {
    uint64_t wakes;
    // EAGAIN: another BatchIo on the same event was faster. Nothing else can go wrong that the next wait
    // would not say.
    if (read(event_, &wakes, sizeof(wakes)) < 0 && errno != EAGAIN) faults->Count(call::kWait, errno);
  }
  return static_cast<int>(bits);
}

void Poller::Close() {
  if (epoll_ >= 0) close(epoll_);
  epoll_ = -1;
}

}  // namespace tuntap2
