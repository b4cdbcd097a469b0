// See batch_io.h. No call here allocates or creates a JavaScript object per packet; those that take memory
// fetch its base anew, because a wasm memory moves when it grows.
#include "batch_io.h"

#include <algorithm>
#include <cerrno>

#include "arguments.h"
#include "tun.h"

namespace tuntap2 {

Napi::Function BatchIo::Define(Napi::Env env) {
  return DefineClass(env, "BatchIo",
                     {
                         InstanceMethod<&BatchIo::Open>("open"),
                         InstanceMethod<&BatchIo::Wait>("wait"),
                         InstanceMethod<&BatchIo::ReceiveUdp>("receiveUdp"),
                         InstanceMethod<&BatchIo::SendUdp>("sendUdp"),
                         InstanceMethod<&BatchIo::ReadTun>("readTun"),
                         InstanceMethod<&BatchIo::WriteTun>("writeTun"),
                         InstanceMethod<&BatchIo::SetSockets>("setSockets"),
                         InstanceMethod<&BatchIo::Link>("link"),
                         InstanceMethod<&BatchIo::LastStale>("lastStale"),
                         InstanceMethod<&BatchIo::GsoWorks>("gsoWorks"),
                         InstanceMethod<&BatchIo::Faults>("faults"),
                         InstanceMethod<&BatchIo::Close>("close"),
                     });
}

Napi::Value BatchIo::Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (udp_ != nullptr || !info[0].IsObject()) {
    Refuse(env, "open takes options, once");
    return env.Undefined();
  }
  const Napi::Object options = info[0].As<Napi::Object>();
  if (!ReadDescriptor(GetProperty(options, "tun"), "tun", &descriptors_.tun) ||
      !ReadFlag(GetProperty(options, "addsHeader"), "addsHeader", &adds_header_) ||
      !ReadOptionalI32(GetProperty(options, "udp4"), "udp4", &descriptors_.udp4) ||
      !ReadOptionalI32(GetProperty(options, "udp6"), "udp6", &descriptors_.udp6) ||
      !ReadDescriptor(GetProperty(options, "event"), "event", &descriptors_.event) ||
      !ReadPlace(options, "receiveColumn", "receiveSlots", &receive_) ||
      !ReadPlace(options, "sendColumn", "sendSlots", &send_) ||
      !ReadPlace(options, "readColumn", "readSlots", &read_) ||
      !ReadPlace(options, "writeColumn", "writeSlots", &write_)) {
    return env.Undefined();
  }
  if (!ReadReport(GetProperty(options, "report"))) return env.Undefined();
  const Failure failure = poller_.Open(descriptors_);
  if (failure.happened()) return FailureValue(env, failure);
  udp_ = std::make_unique<UdpBatch>(descriptors_.udp4, descriptors_.udp6);
  link_ = std::make_unique<LinkWatch>(descriptors_.tun);
  return Napi::Function::New<&BatchIo::Exchange>(env, "exchange", this);
}

bool BatchIo::ReadReport(const Napi::Value& value) {
  if (!value.IsTypedArray()) return Refuse(value.Env(), "report is not an array");
  Napi::Float64Array report = value.As<Napi::Float64Array>();
  if (report.TypedArrayType() != napi_float64_array || report.ElementLength() != report::kCount) {
    return Refuse(value.Env(), "report is not an array of its size");
  }
  report_ = Napi::Persistent(report);
  report_at_ = report.Data();
  return true;
}

Napi::Value BatchIo::SetSockets(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int udp4 = -1, udp6 = -1;
  if (!ReadOptionalI32(info[0], "udp4", &udp4) || !ReadOptionalI32(info[1], "udp6", &udp6)) {
    return env.Undefined();
  }
  if (udp_ == nullptr) return FailureValue(env, Failure{EBADF, "epoll_ctl"});
  poller_.Unwatch(descriptors_.udp4);
  poller_.Unwatch(descriptors_.udp6);
  descriptors_.udp4 = udp4;
  descriptors_.udp6 = udp6;
  udp_ = std::make_unique<UdpBatch>(udp4, udp6);
  Failure failure = poller_.Watch(udp4, ready::kUdp4);
  if (!failure.happened()) failure = poller_.Watch(udp6, ready::kUdp6);
  return failure.happened() ? FailureValue(env, failure) : env.Undefined();
}

Napi::Value BatchIo::Link(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  LinkState state;
  if (link_ == nullptr) return env.Undefined();
  const int watched = link_->fd();
  const bool is_known = link_->Read(&state);
  // One that was closed has left the set by itself.
  const bool is_watched =
      link_->fd() >= 0 && (link_->fd() == watched || !poller_.Watch(link_->fd(), ready::kLink).happened());
  if (!is_known) return env.Undefined();
  const Napi::Object link = Napi::Object::New(env);
  SetFlag(link, "isWatched", is_watched);
  SetProperty(link, "mtu", state.mtu);
  SetFlag(link, "isUp", state.is_up);
  return link;
}

Napi::Value BatchIo::Wait(const Napi::CallbackInfo& info) {
  double timeout_ms = 0;
  if (!ReadDouble(info[0], "timeoutMs", &timeout_ms)) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), udp_ == nullptr ? -EBADF : poller_.Wait(timeout_ms, &faults_));
}

Napi::Value BatchIo::Exchange(const Napi::CallbackInfo& info) {
  return static_cast<BatchIo*>(info.Data())->ExchangeWith(info);
}

Napi::Value BatchIo::ExchangeWith(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Memory memory;
  Column<FrameEntry> write, read;
  Column<DatagramEntry> send, receive;
  double frames = 0, messages = 0, until_ms = 0;
  if (!ReadMemory(info[0], &memory)) return env.Undefined();
  if (!write.Open(memory, write_) || !send.Open(memory, send_) || !receive.Open(memory, receive_) ||
      !read.Open(memory, read_)) {
    Refuse(env, "a column ends behind the memory");
    return env.Undefined();
  }
  if (!ReadWhole(info[1], "frames", 0, write.slots(), &frames) ||
      !ReadWhole(info[2], "messages", 0, send.slots(), &messages) ||
      !ReadDouble(info[3], "untilMs", &until_ms)) {
    return env.Undefined();
  }
  if (udp_ == nullptr) return Napi::Number::New(env, -EBADF);
  if (frames > 0) WriteFrames(descriptors_.tun, adds_header_, write, static_cast<uint32_t>(frames), &faults_);
  if (messages > 0) udp_->Send(send, static_cast<uint32_t>(messages), &faults_);
  report_at_[report::kStale] = messages > 0 ? udp_->last_stale() : 0;
  const int ready = poller_.Wait(until_ms <= 0 ? 0 : std::max(0.0, until_ms - NowMs()), &faults_);
  const uint32_t bits = ready > 0 ? static_cast<uint32_t>(ready) : 0;
  report_at_[report::kNowMs] = NowMs();
  report_at_[report::kDatagrams] =
      (bits & (ready::kUdp4 | ready::kUdp6)) == 0 ? 0 : std::max(0, udp_->Receive(receive, bits, &faults_));
  report_at_[report::kFrames] =
      (bits & ready::kTun) == 0 ? 0 : std::max(0, ReadFrames(descriptors_.tun, adds_header_, read, &faults_));
  return Napi::Number::New(env, ready);
}

Napi::Value BatchIo::ReceiveUdp(const Napi::CallbackInfo& info) {
  Column<DatagramEntry> column;
  uint32_t ready = 0;
  if (!ReadColumn(info, receive_, &column) || !ReadU32(info[1], "ready", &ready))
    return info.Env().Undefined();
  return Napi::Number::New(info.Env(), udp_ == nullptr ? -EBADF : udp_->Receive(column, ready, &faults_));
}

Napi::Value BatchIo::SendUdp(const Napi::CallbackInfo& info) {
  Column<DatagramEntry> column;
  uint32_t count = 0;
  if (!ReadColumn(info, send_, &column) || !ReadCount(info, column, &count)) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), udp_ == nullptr ? -EBADF : udp_->Send(column, count, &faults_));
}

Napi::Value BatchIo::ReadTun(const Napi::CallbackInfo& info) {
  Column<FrameEntry> column;
  if (!ReadColumn(info, read_, &column)) return info.Env().Undefined();
  return Napi::Number::New(
      info.Env(), udp_ == nullptr ? -EBADF : ReadFrames(descriptors_.tun, adds_header_, column, &faults_));
}

Napi::Value BatchIo::WriteTun(const Napi::CallbackInfo& info) {
  Column<FrameEntry> column;
  uint32_t count = 0;
  if (!ReadColumn(info, write_, &column) || !ReadCount(info, column, &count)) return info.Env().Undefined();
  return Napi::Number::New(
      info.Env(),
      udp_ == nullptr ? -EBADF : WriteFrames(descriptors_.tun, adds_header_, column, count, &faults_));
}

Napi::Value BatchIo::LastStale(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), udp_ == nullptr ? 0 : udp_->last_stale());
}

Napi::Value BatchIo::GsoWorks(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), udp_ != nullptr && udp_->gso_works());
}

Napi::Value BatchIo::Faults(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Array rows = Napi::Array::New(env, faults_.size());
  for (size_t i = 0; i < faults_.size(); ++i) {
    const Napi::Object row = Napi::Object::New(env);
    SetProperty(row, "call", faults_[i].call);
    SetProperty(row, "errno", -faults_[i].error);
    SetProperty(row, "count", static_cast<double>(faults_[i].count));
    napi_set_element(env, rows, static_cast<uint32_t>(i), row);
  }
  return rows;
}

void BatchIo::Close(const Napi::CallbackInfo&) {
  udp_.reset();
  link_.reset();
  poller_.Close();
}

}  // namespace tuntap2
