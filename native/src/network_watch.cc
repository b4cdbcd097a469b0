// See network_watch.h.
#include "network_watch.h"

#include <linux/rtnetlink.h>
#include <unistd.h>
#include <uv.h>

#include "arguments.h"
#include "rtnetlink.h"

namespace tuntap2 {

// What libuv and the end of the environment hold on to. Lives until libuv has closed the handle, which is
// after the object where that is collected first.
struct NetworkPoll {
  uv_poll_t handle = {};
  int fd = -1;
  NetworkWatch* watch = nullptr;
  napi_async_cleanup_hook_handle at_end = nullptr;
};

namespace {

constexpr uint32_t kGroups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;

NetworkPoll* PollOf(void* data) { return static_cast<NetworkPoll*>(data); }

void OnClosed(uv_handle_t* handle) {
  NetworkPoll* poll = PollOf(handle->data);
  close(poll->fd);
  napi_remove_async_cleanup_hook(poll->at_end);
  delete poll;
}

void BeginClose(NetworkPoll* poll) {
  poll->watch = nullptr;
  auto* handle = reinterpret_cast<uv_handle_t*>(&poll->handle);
  if (uv_is_closing(handle) == 0) uv_close(handle, OnClosed);
}

void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  NetworkPoll* poll = PollOf(data);
  if (poll->watch != nullptr) poll->watch->Forget();
  BeginClose(poll);
}

void OnReadable(uv_poll_t* handle, int status, int) {
  NetworkPoll* poll = PollOf(handle->data);
  DrainChanges(poll->fd);
  // Lost news are an error of the socket, at which libuv stops polling; the drain has taken it off.
  if (status < 0) uv_poll_start(handle, UV_READABLE, OnReadable);
  if (poll->watch != nullptr) poll->watch->Tell();
}

}  // namespace

Napi::Function NetworkWatch::Define(Napi::Env env) {
  return DefineClass(env, "NetworkWatch",
                     {
                         InstanceMethod<&NetworkWatch::Open>("open"),
                         InstanceMethod<&NetworkWatch::Close>("close"),
                     });
}

Napi::Value NetworkWatch::Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (poll_ != nullptr || !info[0].IsFunction()) {
    Refuse(env, "open takes a function, once");
    return env.Undefined();
  }
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return FailureValue(env, Failure{ENOSYS, "uv_loop"});
  int fd = -1;
  const Failure failure = SubscribeToChanges(kGroups, &fd);
  if (failure.happened()) return FailureValue(env, failure);
  auto* poll = new NetworkPoll();
  poll->fd = fd;
  const int error = uv_poll_init(loop, &poll->handle, fd);
  if (error < 0) {
    close(fd);
    delete poll;
    return FailureValue(env, Failure{-error, "uv_poll_init"});
  }
  poll->handle.data = poll;
  poll->watch = this;
  napi_add_async_cleanup_hook(env, OnEnvironmentEnd, poll, &poll->at_end);
  uv_unref(reinterpret_cast<uv_handle_t*>(&poll->handle));
  uv_poll_start(&poll->handle, UV_READABLE, OnReadable);
  poll_ = poll;
  on_change_ = Napi::Persistent(info[0].As<Napi::Function>());
  Ref();  // whoever is told needs not hold on to it
  return env.Undefined();
}

void NetworkWatch::Tell() {
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  on_change_.MakeCallback(env.Global(), {});
  // There is no caller for what the callback throws: it goes where an event handler's exceptions go.
  napi_value thrown = nullptr;
  bool has_thrown = false;
  if (napi_is_exception_pending(env, &has_thrown) == napi_ok && has_thrown &&
      napi_get_and_clear_last_exception(env, &thrown) == napi_ok) {
    napi_fatal_exception(env, thrown);
  }
}

void NetworkWatch::Close(const Napi::CallbackInfo&) {
  if (poll_ == nullptr) return;
  Stop();
  on_change_.Reset();
  Unref();
}

void NetworkWatch::Stop() {
  if (poll_ != nullptr) BeginClose(poll_);
  poll_ = nullptr;
}

}  // namespace tuntap2
