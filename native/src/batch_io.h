// The JavaScript class BatchIo: wires the memory of each call to the poller, the UDP batches and the TUN
// frames. Owns only an epoll and a netlink descriptor. Twin: class BatchIo in batch-io.ts, which documents
// the calls.
#ifndef TUNTAP2_BATCH_IO_H_
#define TUNTAP2_BATCH_IO_H_

#include <napi.h>

#include <memory>

#include "columns.h"
#include "faults.h"
#include "link.h"
#include "poll.h"
#include "udp_batch.h"

namespace tuntap2 {

// What Exchange() reports, by index. Twin: REPORT in batch-io.ts.
namespace report {
inline constexpr size_t kNowMs = 0;
inline constexpr size_t kDatagrams = 1;
inline constexpr size_t kFrames = 2;
inline constexpr size_t kStale = 3;
inline constexpr size_t kCount = 4;
}  // namespace report

class BatchIo : public Napi::ObjectWrap<BatchIo> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit BatchIo(const Napi::CallbackInfo& info) : Napi::ObjectWrap<BatchIo>(info) {}

 private:
  // open(options): the function `exchange`, or { errno, syscall }. Apart from the constructor, because that
  // cannot answer.
  Napi::Value Open(const Napi::CallbackInfo& info);

  Napi::Value Wait(const Napi::CallbackInfo& info);
  // A function with this object for its data, no method: napi_unwrap is a property lookup, which costs as
  // much as the rest of the call. INVARIANT: whoever holds the function holds the object (batch-io.ts:
  // BatchIo).
  static Napi::Value Exchange(const Napi::CallbackInfo& info);
  Napi::Value ExchangeWith(const Napi::CallbackInfo& info);
  Napi::Value ReceiveUdp(const Napi::CallbackInfo& info);
  Napi::Value SendUdp(const Napi::CallbackInfo& info);
  Napi::Value ReadTun(const Napi::CallbackInfo& info);
  Napi::Value WriteTun(const Napi::CallbackInfo& info);
  Napi::Value SetSockets(const Napi::CallbackInfo& info);
  Napi::Value Link(const Napi::CallbackInfo& info);
  Napi::Value LastStale(const Napi::CallbackInfo& info);
  Napi::Value GsoWorks(const Napi::CallbackInfo& info);
  Napi::Value Faults(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  bool ReadReport(const Napi::Value& value);

  BatchDescriptors descriptors_;
  bool adds_header_ = false;  // to the frames of the TUN
  ColumnPlace receive_, send_, read_, write_;
  // Where Exchange() says what it did. INVARIANT: the array is kept alive here, and never detached: its
  // buffer is batch-io.ts's, which transfers it to nobody.
  Napi::Reference<Napi::Float64Array> report_;
  double* report_at_ = nullptr;
  FaultTable faults_;
  Poller poller_;
  std::unique_ptr<LinkWatch> link_;
  std::unique_ptr<UdpBatch> udp_;  // null before open() and after close(): then every call is EBADF
};

}  // namespace tuntap2

#endif  // TUNTAP2_BATCH_IO_H_
