// Huge pages for memory that is used all the time.
#ifndef TUNTAP2_HUGE_PAGES_H_
#define TUNTAP2_HUGE_PAGES_H_

#include <cstddef>
#include <cstdint>

namespace tuntap2 {

// Asks for huge pages wherever one fits whole into [base, base + size). False where the system has none to
// give; pages that are in use already stay as they are.
bool AdviseHugePages(uint8_t* base, size_t size);

}  // namespace tuntap2

#endif  // TUNTAP2_HUGE_PAGES_H_
