// The layout of the columns that this addon and the owner of the memory share, and the checks on every
// access. Twin: wasm/core/src/arena.rs (the same entries in Rust); docs/architecture.md has the table.
//
//   memory ─┬──────────┬───────────────────────────────┬──────────┬───────────────────┬──
//           │   ...    │ entry 0 │ entry 1 │ ... │ n-1 │   ...    │ slot 0 │ slot 1 │ ...
//           └──────────┴────┬────┴──────────────────────┴──────────┴───────────────────┴──
//                      column offset       entry.offset, entry.capacity ──▶ a slot
//
// INVARIANT: native never writes `offset`, `capacity` or `peer` of an entry: they belong to the memory's
// owner.
#ifndef TUNTAP2_COLUMNS_H_
#define TUNTAP2_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace tuntap2 {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "entries are little-endian, as wasm memory is");

struct DatagramEntry {
  uint32_t offset;     // where the payload lies
  uint32_t length;     // payload bytes
  uint32_t capacity;   // bytes of the slot (receive)
  int32_t status;      // 0, a negative errno, or kSentWithoutLocal
  uint32_t peer;       // the owner's
  uint32_t segment;    // bytes of each datagram of a train but its last; 0 = one datagram
  uint16_t family;     // 4 or 6: of both addresses
  uint16_t port;       // of the remote end, host order
  uint32_t scope;      // IPv6 scope id of the remote end, else 0
  uint8_t remote[16];  // IPv4 in the first four, the rest 0
  uint8_t local[16];   // all zero = none
};
static_assert(std::is_trivially_copyable_v<DatagramEntry> && sizeof(DatagramEntry) == 64);
static_assert(offsetof(DatagramEntry, offset) == 0 && offsetof(DatagramEntry, length) == 4);
static_assert(offsetof(DatagramEntry, capacity) == 8 && offsetof(DatagramEntry, status) == 12);
static_assert(offsetof(DatagramEntry, peer) == 16 && offsetof(DatagramEntry, segment) == 20);
static_assert(offsetof(DatagramEntry, family) == 24 && offsetof(DatagramEntry, port) == 26);
static_assert(offsetof(DatagramEntry, scope) == 28 && offsetof(DatagramEntry, remote) == 32);
static_assert(offsetof(DatagramEntry, local) == 48);

struct FrameEntry {
  uint32_t offset;    // where the IP packet lies
  uint32_t length;    // bytes
  uint32_t capacity;  // bytes of the slot (read); not 0 = the next entry belongs to the same frame (write)
  int32_t status;     // 0, or a negative errno
};
static_assert(std::is_trivially_copyable_v<FrameEntry> && sizeof(FrameEntry) == 16);
static_assert(offsetof(FrameEntry, offset) == 0 && offsetof(FrameEntry, length) == 4);
static_assert(offsetof(FrameEntry, capacity) == 8 && offsetof(FrameEntry, status) == 12);

// A call that fills slots stops after this many bytes: a batch that fits the second-level cache is worked on
// faster than a longer one.
inline constexpr uint32_t kBatchBytes = 192 * 1024;

// Status of a datagram that was sent, but only after its stale `local` address was dropped.
inline constexpr int32_t kSentWithoutLocal = 1;

// The memory of one call. Borrowed: the base moves when a wasm memory grows, so this never outlives the call.
class Memory {
 public:
  Memory() = default;
  Memory(uint8_t* base, size_t size) : base_(base), size_(size) {}

  // Sums in 64 bit: two u32 cannot wrap there.
  bool Holds(uint64_t offset, uint64_t length) const { return offset + length <= size_; }

  size_t size() const { return size_; }

  // SAFETY: the caller has asked Holds() for the bytes it will touch.
  uint8_t* At(uint64_t offset) const { return base_ + offset; }

 private:
  uint8_t* base_ = nullptr;
  size_t size_ = 0;
};

// Where a column lies, as the owner of the memory said at construction.
struct ColumnPlace {
  uint32_t offset = 0;
  uint32_t slots = 0;
};

// A column within the memory of one call. Entries are copied in and out, because a column may lie at any
// offset. INVARIANT: the whole column lies in the memory (Open checks), and an index is below slots()
// (callers check).
template <typename Entry>
class Column {
 public:
  // Returns false if the column does not lie in the memory.
  bool Open(const Memory& memory, const ColumnPlace& place) {
    memory_ = memory;
    place_ = place;
    return memory.Holds(place.offset, uint64_t{place.slots} * sizeof(Entry));
  }

  const Memory& memory() const { return memory_; }
  uint32_t slots() const { return place_.slots; }

  Entry Load(uint32_t index) const {
    Entry entry;
    memcpy(&entry, At(index), sizeof(Entry));
    return entry;
  }

  void Store(uint32_t index, const Entry& entry) const { memcpy(At(index), &entry, sizeof(Entry)); }

  void StoreStatus(uint32_t index, int32_t status) const {
    memcpy(At(index) + offsetof(Entry, status), &status, sizeof(status));
  }

 private:
  uint8_t* At(uint32_t index) const { return memory_.At(place_.offset + uint64_t{index} * sizeof(Entry)); }

  Memory memory_;
  ColumnPlace place_;
};

}  // namespace tuntap2

#endif  // TUNTAP2_COLUMNS_H_
