// The JavaScript class NetworkWatch: calls back on the environment's own event loop when addresses or links
// of the network namespace change. Owns a netlink socket. Twin: watchNetwork in network.ts.
#ifndef TUNTAP2_NETWORK_WATCH_H_
#define TUNTAP2_NETWORK_WATCH_H_

#include <napi.h>

namespace tuntap2 {

struct NetworkPoll;

class NetworkWatch : public Napi::ObjectWrap<NetworkWatch> {
 public:
  static Napi::Function Define(Napi::Env env);

  explicit NetworkWatch(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NetworkWatch>(info) {}
  ~NetworkWatch() override { Stop(); }

  // News have come, or some were lost.
  void Tell();
  // The environment ends: libuv closes the poll, and nobody is told any more.
  void Forget() { poll_ = nullptr; }

 private:
  // open(onChange): undefined, or { errno, syscall }. The event loop does not wait for what may never come.
  Napi::Value Open(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  void Stop();

  NetworkPoll* poll_ = nullptr;
  Napi::FunctionReference on_change_;
};

}  // namespace tuntap2

#endif  // TUNTAP2_NETWORK_WATCH_H_
