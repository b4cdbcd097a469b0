// Every descriptor this addon opened, and which environment (main thread or worker) owns it. One table for
// the process, because descriptor numbers are: one thread wakes another by number.
#ifndef TUNTAP2_DESCRIPTORS_H_
#define TUNTAP2_DESCRIPTORS_H_

#include <mutex>
#include <vector>

#include "failure.h"

namespace tuntap2 {

class Descriptors {
 public:
  enum class Kind { kTun, kUdp, kEvent };

  // The one table. It is never destroyed: an environment may end while the process's statics are torn down.
  static Descriptors& OfProcess();

  // `owner` identifies an environment; it is compared, never followed.
  void Add(int fd, Kind kind, const void* owner);

  // Closes a descriptor of this owner. EBADF for any other number, so that a second close can never hit a
  // descriptor that has since been given to someone else.
  Failure Close(int fd, const void* owner);

  // Closes what the owner has left open: the end of its environment.
  void CloseAll(const void* owner);

  // Signals an eventfd of any environment. Under the same lock as Close, so the number cannot change its
  // meaning between the look-up and the write.
  Failure Wake(int fd);

 private:
  struct Record {
    int fd;
    Kind kind;
    const void* owner;
  };

  std::mutex mutex_;
  std::vector<Record> records_;
};

}  // namespace tuntap2

#endif  // TUNTAP2_DESCRIPTORS_H_
