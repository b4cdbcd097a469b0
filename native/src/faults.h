// Counts what failed on the packet path, by call and errno, in a table of fixed size. Nothing here logs or
// throws: a fault is a number that batch-io.ts reads with `faults()`.
#ifndef TUNTAP2_FAULTS_H_
#define TUNTAP2_FAULTS_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace tuntap2 {

struct Fault {
  const char* call = nullptr;  // static text: the same call is always the same pointer
  int error = 0;               // a positive errno
  uint64_t count = 0;
};

namespace call {
inline constexpr char kWait[] = "epoll_wait";
inline constexpr char kReceive[] = "recvmmsg";
inline constexpr char kSend[] = "sendmmsg";
inline constexpr char kRead[] = "read";
inline constexpr char kWrite[] = "write";
inline constexpr char kOther[] = "other";
}  // namespace call

class FaultTable {
 public:
  void Count(const char* call, int error) {
    for (size_t i = 0; i < used_; ++i) {
      if (faults_[i].call == call && faults_[i].error == error) {
        ++faults_[i].count;
        return;
      }
    }
    // Five calls times a dozen errnos fit; should they not, the last row takes the rest rather than lose a
    // count.
    if (used_ == kRows - 1) {
      call = call::kOther;
      error = 0;
    }
    if (used_ == kRows) {
      ++faults_[kRows - 1].count;
      return;
    }
    faults_[used_++] = Fault{call, error, 1};
  }

  size_t size() const { return used_; }
  const Fault& operator[](size_t index) const { return faults_[index]; }

 private:
  static constexpr size_t kRows = 64;
  std::array<Fault, kRows> faults_;
  size_t used_ = 0;
};

}  // namespace tuntap2

#endif  // TUNTAP2_FAULTS_H_
