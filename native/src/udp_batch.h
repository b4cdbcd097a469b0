// Batches of datagrams between two UDP sockets (IPv4, IPv6) and the datagram columns. Knows no JavaScript
// value.
#ifndef TUNTAP2_UDP_BATCH_H_
#define TUNTAP2_UDP_BATCH_H_

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "columns.h"
#include "faults.h"

namespace tuntap2 {

// The batches of one lane. Its message headers are allocated once, with the object.
class UdpBatch {
 public:
  // Borrows the sockets; -1 = absent.
  UdpBatch(int udp4, int udp6);
  UdpBatch(const UdpBatch&) = delete;
  UdpBatch& operator=(const UdpBatch&) = delete;

  // Fills slots from slot 0 with datagrams of the sockets named by the bits kUdp4 and kUdp6 of `ready`, until
  // both are empty, as many datagrams were taken as there are slots, or kBatchBytes. The two take turns, so
  // neither starves. Datagrams longer than their slot are dropped and counted as recvmmsg/EMSGSIZE. Returns
  // how many slots were filled, or a negative errno if that is the reason why none was.
  int Receive(const Column<DatagramEntry>& column, uint32_t ready, FaultTable* faults);

  // Sends the first `count` entries in order, count <= column.slots(), and sets the `status` of each: 0,
  // kSentWithoutLocal, or a negative errno. Returns how many were sent.
  int Send(const Column<DatagramEntry>& column, uint32_t count, FaultTable* faults);

  // False once the host refused a train for want of checksum offload.
  bool gso_works() const { return gso_works_; }

  // How many entries of the last Send got kSentWithoutLocal.
  uint32_t last_stale() const { return last_stale_; }

 private:
  // What one system call takes. 64 keeps all of this within 10 KiB, so it stays in the first-level cache.
  static constexpr uint32_t kBatch = 64;

  union SocketAddress {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  struct alignas(cmsghdr) Control {
    uint8_t bytes[CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int))];
  };
  static_assert(sizeof(in6_pktinfo) >= sizeof(in_pktinfo));

  struct Taken {
    uint32_t datagrams = 0;  // taken off the socket
    uint32_t filled = 0;     // of them, kept in slots
    uint32_t bytes = 0;
    int error = 0;
    bool is_drained = false;
  };

  Taken ReceiveSome(int fd, uint16_t family, const Column<DatagramEntry>& column, uint32_t first,
                    uint32_t want, FaultTable* faults);
  uint32_t Keep(uint16_t family, const Column<DatagramEntry>& column, uint32_t first, uint32_t count,
                FaultTable* faults);
  int Descriptor(uint16_t family) const;
  void Prepare(uint32_t at, const Memory& memory, const DatagramEntry& entry);
  int SendRun(int fd, const Column<DatagramEntry>& column, uint32_t count, FaultTable* faults);
  int SendSome(int fd, uint32_t at, uint32_t count);
  bool SendSingly(int fd, uint32_t at);
  void DropSegment(uint32_t at);

  const int udp4_;
  const int udp6_;
  uint32_t turn_ = 0;        // whose turn it is to be first: 0 = IPv4, 1 = IPv6
  uint32_t last_taken_ = 0;  // datagrams of the last Receive()
  uint32_t last_stale_ = 0;
  bool gso_works_ = true;  // until the first EIO: then trains leave datagram by datagram
  uint32_t patience_ = 0;  // waits for room in a send buffer that this Send may still make
  mmsghdr messages_[kBatch] = {};
  iovec payloads_[kBatch] = {};
  SocketAddress addresses_[kBatch] = {};
  Control controls_[kBatch] = {};
  uint32_t indexes_[kBatch] = {};   // which entry of the column a message is for (send)
  bool has_local_[kBatch] = {};     // whether it names its source address (send)
  uint32_t segments_[kBatch] = {};  // its datagrams' size if it is a train, else 0 (send)
  bool as_train_[kBatch] = {};      // whether the train leaves by one call (send)
};

}  // namespace tuntap2

#endif  // TUNTAP2_UDP_BATCH_H_
