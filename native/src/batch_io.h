// The JavaScript class BatchIo: wires the memory of each call to the poller, the UDP batches and the TUN
// frames. Owns only an epoll and a netlink descriptor. Twin: class BatchIo in index.ts, which documents the
// calls.
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

class BatchIo : public Napi::ObjectWrap<BatchIo> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit BatchIo(const Napi::CallbackInfo& info) : Napi::ObjectWrap<BatchIo>(info) {}

 private:
  // open(options): undefined, or { errno, syscall }. Apart from the constructor, because that cannot answer.
  Napi::Value Open(const Napi::CallbackInfo& info);

  Napi::Value Wait(const Napi::CallbackInfo& info);
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

  BatchDescriptors descriptors_;
  bool adds_header_ = false;  // to the frames of the TUN
  ColumnPlace receive_, send_, read_, write_;
  FaultTable faults_;
  Poller poller_;
  std::unique_ptr<LinkWatch> link_;
  std::unique_ptr<UdpBatch> udp_;  // null before open() and after close(): then every call is EBADF
};

}  // namespace tuntap2

#endif  // TUNTAP2_BATCH_IO_H_
