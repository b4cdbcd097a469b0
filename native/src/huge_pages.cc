// See huge_pages.h.
#include "huge_pages.h"

#include <sys/mman.h>

namespace tuntap2 {
namespace {

// What x86-64 and arm64 with pages of 4 KiB have. Where huge pages are larger, the kernel uses none for less
// than one.
constexpr uintptr_t kHugePageBytes = uintptr_t{2} << 20;

}  // namespace

bool AdviseHugePages(uint8_t* base, size_t size) {
  const uintptr_t first = (reinterpret_cast<uintptr_t>(base) + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(base) + size) & ~(kHugePageBytes - 1);
  return first < end && madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE) == 0;
}

}  // namespace tuntap2
