// The export table, and the state of one environment (the main thread or a worker): the descriptors it
// opened, closed when it ends. A set-up call answers with its result or with { errno, syscall }. Twin:
// addon.ts.
#include <napi.h>

#include <string>
#include <vector>

#include "arguments.h"
#include "batch_io.h"
#include "descriptors.h"
#include "huge_pages.h"
#include "link.h"
#include "network_watch.h"
#include "poll.h"
#include "raw_packet.h"
#include "rtnetlink.h"
#include "tun.h"
#include "udp.h"
#include "unix_datagram.h"

namespace tuntap2 {
namespace {

// Far more than a service manager is ever told. Twin: descriptors.ts.
constexpr size_t kMaxDatagramTextBytes = 4096;

// Destroyed by Node-API exactly once when the environment ends, also when its worker is terminated.
class Environment {
 public:
  static const Environment* Of(Napi::Env env) { return env.GetInstanceData<Environment>(); }

  Environment() = default;
  ~Environment() { Descriptors::OfProcess().CloseAll(this); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

void Own(Napi::Env env, int fd, Descriptors::Kind kind) {
  Descriptors::OfProcess().Add(fd, kind, Environment::Of(env));
}

Napi::Value OpenedTunValue(Napi::Env env, const OpenedTun& tun) {
  Own(env, tun.fd, Descriptors::Kind::kTun);
  const Napi::Object opened = Napi::Object::New(env);
  SetProperty(opened, "fd", tun.fd);
  SetProperty(opened, "name", tun.name);
  SetFlag(opened, "vnetHeader", tun.vnet_header);
  SetFlag(opened, "tcpOffload", tun.tcp_offload);
  SetFlag(opened, "udpOffload", tun.udp_offload);
  return opened;
}

// openTun(name, exclusive, vnetHeader, tcpOffload, udpOffload): { fd, name, vnetHeader, tcpOffload,
// udpOffload }
Napi::Value OpenTunCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::string name;
  TunOptions options;
  if (!ReadText(info[0], "name", IFNAMSIZ - 1, &name) ||
      !ReadFlag(info[1], "exclusive", &options.exclusive) ||
      !ReadFlag(info[2], "vnetHeader", &options.vnet_header) ||
      !ReadFlag(info[3], "tcpOffload", &options.tcp_offload) ||
      !ReadFlag(info[4], "udpOffload", &options.udp_offload)) {
    return env.Undefined();
  }
  OpenedTun tun;
  const Failure failure = OpenTun(name.c_str(), options, &tun);
  return failure.happened() ? FailureValue(env, failure) : OpenedTunValue(env, tun);
}

// adoptTun(fd, tcpOffload, udpOffload): as openTun
Napi::Value AdoptTunCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int fd = -1;
  TunOptions options;
  if (!ReadDescriptor(info[0], "fd", &fd) || !ReadFlag(info[1], "tcpOffload", &options.tcp_offload) ||
      !ReadFlag(info[2], "udpOffload", &options.udp_offload)) {
    return env.Undefined();
  }
  OpenedTun tun;
  const Failure failure = AdoptTun(fd, options, &tun);
  return failure.happened() ? FailureValue(env, failure) : OpenedTunValue(env, tun);
}

// tunName(fd): string
Napi::Value TunNameCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int fd = -1;
  if (!ReadDescriptor(info[0], "fd", &fd)) return env.Undefined();
  char name[IFNAMSIZ];
  const Failure failure = TunName(fd, name);
  if (failure.happened()) return FailureValue(env, failure);
  return Napi::String::New(env, name);
}

// openUdp(family, port, receiveBufferBytes, sendBufferBytes, mark, gro): { fd, port, gro, gso }; -1 = not
// given
Napi::Value OpenUdpCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  UdpOptions options;
  double family = 0, port = 0, mark = 0;
  if (!ReadWhole(info[0], "family", 4, 6, &family) || !ReadWhole(info[1], "port", 0, 65535, &port) ||
      !ReadOptionalI32(info[2], "receiveBufferBytes", &options.receive_buffer_bytes) ||
      !ReadOptionalI32(info[3], "sendBufferBytes", &options.send_buffer_bytes) ||
      !ReadWhole(info[4], "mark", -1, std::numeric_limits<uint32_t>::max(), &mark) ||
      !ReadFlag(info[5], "gro", &options.gro)) {
    return env.Undefined();
  }
  options.family = static_cast<int>(family);
  options.port = static_cast<uint16_t>(port);
  options.mark = static_cast<int64_t>(mark);
  OpenedUdp udp;
  const Failure failure = OpenUdp(options, &udp);
  if (failure.happened()) return FailureValue(env, failure);
  Own(env, udp.fd, Descriptors::Kind::kUdp);
  const Napi::Object opened = Napi::Object::New(env);
  SetProperty(opened, "fd", udp.fd);
  SetProperty(opened, "port", udp.port);
  SetFlag(opened, "gro", udp.gro);
  SetFlag(opened, "gso", udp.gso);
  return opened;
}

// setMark(fd, mark): undefined
Napi::Value SetMarkCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int fd = -1;
  uint32_t mark = 0;
  if (!ReadDescriptor(info[0], "fd", &fd) || !ReadU32(info[1], "mark", &mark)) return env.Undefined();
  const Failure failure = SetMark(fd, mark);
  return failure.happened() ? FailureValue(env, failure) : env.Undefined();
}

// setLinkMtu(fd, mtu): undefined
Napi::Value SetLinkMtuCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int fd = -1;
  double mtu = 0;
  if (!ReadDescriptor(info[0], "fd", &fd) || !ReadWhole(info[1], "mtu", 68, 65535, &mtu))
    return env.Undefined();
  const Failure failure = SetLinkMtu(fd, static_cast<int>(mtu));
  return failure.happened() ? FailureValue(env, failure) : env.Undefined();
}

// openEvent(): fd
Napi::Value OpenEventCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  int fd = -1;
  const Failure failure = OpenEvent(&fd);
  if (failure.happened()) return FailureValue(env, failure);
  Own(env, fd, Descriptors::Kind::kEvent);
  return Napi::Number::New(env, fd);
}

// wake(fd): undefined
Napi::Value WakeCall(const Napi::CallbackInfo& info) {
  int fd = -1;
  if (!ReadDescriptor(info[0], "fd", &fd)) return info.Env().Undefined();
  const Failure failure = Descriptors::OfProcess().Wake(fd);
  return failure.happened() ? FailureValue(info.Env(), failure) : info.Env().Undefined();
}

// closeDescriptor(fd): undefined
Napi::Value CloseDescriptorCall(const Napi::CallbackInfo& info) {
  int fd = -1;
  if (!ReadDescriptor(info[0], "fd", &fd)) return info.Env().Undefined();
  const Failure failure = Descriptors::OfProcess().Close(fd, Environment::Of(info.Env()));
  return failure.happened() ? FailureValue(info.Env(), failure) : info.Env().Undefined();
}

// adviseHugePages(memory): boolean
Napi::Value AdviseHugePagesCall(const Napi::CallbackInfo& info) {
  Memory memory;
  if (!ReadMemory(info[0], &memory)) return info.Env().Undefined();
  return Napi::Boolean::New(info.Env(), AdviseHugePages(memory.At(0), memory.size()));
}

// sendUnixDatagram(address, text): undefined
Napi::Value SendUnixDatagramCall(const Napi::CallbackInfo& info) {
  std::string address, text;
  if (!ReadText(info[0], "address", kMaxUnixAddressBytes, &address) ||
      !ReadText(info[1], "text", kMaxDatagramTextBytes, &text)) {
    return info.Env().Undefined();
  }
  const Failure failure = SendUnixDatagram(address, text);
  return failure.happened() ? FailureValue(info.Env(), failure) : info.Env().Undefined();
}

// localPrefixes(): string[]
Napi::Value LocalPrefixesCall(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::vector<std::string> prefixes;
  const Failure failure = ReadLocalPrefixes(&prefixes);
  if (failure.happened()) return FailureValue(env, failure);
  const Napi::Array texts = Napi::Array::New(env, prefixes.size());
  for (size_t i = 0; i < prefixes.size(); ++i) {
    napi_set_element(env, texts, static_cast<uint32_t>(i), Napi::String::New(env, prefixes[i]));
  }
  return texts;
}

// sendPacketAs(uid, packet): undefined
Napi::Value SendPacketAsCall(const Napi::CallbackInfo& info) {
  uint32_t uid = 0;
  if (!ReadU32(info[0], "uid", &uid)) return info.Env().Undefined();
  uint8_t packet[kMaxRawPacketBytes];
  size_t length = 0;
  if (!ReadBytes(info[1], "packet", sizeof(packet), packet, &length)) return info.Env().Undefined();
  const Failure failure = SendPacketAs(uid, packet, length);
  return failure.happened() ? FailureValue(info.Env(), failure) : info.Env().Undefined();
}

// nowMs(): number
Napi::Value NowMsCall(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), NowMs()); }

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment());
  exports.Set("openTun", Napi::Function::New<OpenTunCall>(env, "openTun"));
  exports.Set("adoptTun", Napi::Function::New<AdoptTunCall>(env, "adoptTun"));
  exports.Set("tunName", Napi::Function::New<TunNameCall>(env, "tunName"));
  exports.Set("openUdp", Napi::Function::New<OpenUdpCall>(env, "openUdp"));
  exports.Set("setMark", Napi::Function::New<SetMarkCall>(env, "setMark"));
  exports.Set("setLinkMtu", Napi::Function::New<SetLinkMtuCall>(env, "setLinkMtu"));
  exports.Set("openEvent", Napi::Function::New<OpenEventCall>(env, "openEvent"));
  exports.Set("wake", Napi::Function::New<WakeCall>(env, "wake"));
  exports.Set("closeDescriptor", Napi::Function::New<CloseDescriptorCall>(env, "closeDescriptor"));
  exports.Set("adviseHugePages", Napi::Function::New<AdviseHugePagesCall>(env, "adviseHugePages"));
  exports.Set("sendUnixDatagram", Napi::Function::New<SendUnixDatagramCall>(env, "sendUnixDatagram"));
  exports.Set("localPrefixes", Napi::Function::New<LocalPrefixesCall>(env, "localPrefixes"));
  exports.Set("sendPacketAs", Napi::Function::New<SendPacketAsCall>(env, "sendPacketAs"));
  exports.Set("nowMs", Napi::Function::New<NowMsCall>(env, "nowMs"));
  exports.Set("BatchIo", BatchIo::Define(env));
  exports.Set("NetworkWatch", NetworkWatch::Define(env));
  return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)

}  // namespace
}  // namespace tuntap2
