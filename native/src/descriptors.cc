// See descriptors.h.
#include "descriptors.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace tuntap2 {

Descriptors& Descriptors::OfProcess() {
  static Descriptors* const table = new Descriptors();
  return *table;
}

void Descriptors::Add(int fd, Kind kind, const void* owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  records_.push_back(Record{fd, kind, owner});
}

Failure Descriptors::Close(int fd, const void* owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto record = std::find_if(records_.begin(), records_.end(), [&](const Record& candidate) {
    return candidate.fd == fd && candidate.owner == owner;
  });
  if (record == records_.end()) return Failure{EBADF, "close"};
  records_.erase(record);
  // Linux releases the number even when close() reports an error, so there is nothing to repeat: close(2),
  // NOTES.
  return close(fd) == 0 ? Failure{} : Failure{errno, "close"};
}

void Descriptors::CloseAll(const void* owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto kept = std::remove_if(records_.begin(), records_.end(), [&](const Record& record) {
    if (record.owner != owner) return false;
    close(record.fd);
    return true;
  });
  records_.erase(kept, records_.end());
}

Failure Descriptors::Wake(int fd) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool is_event = std::any_of(records_.begin(), records_.end(), [&](const Record& record) {
    return record.fd == fd && record.kind == Kind::kEvent;
  });
  if (!is_event) return Failure{EBADF, "write"};
  const uint64_t one = 1;
  ssize_t written;
  do {
    written = write(fd, &one, sizeof(one));
  } while (written < 0 && errno == EINTR);
  // EAGAIN: the counter is at its maximum, so the event is signalled already.
  return written < 0 && errno != EAGAIN ? Failure{errno, "write"} : Failure{};
}

}  // namespace tuntap2
