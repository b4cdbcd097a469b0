// See link.h.
#include "link.h"

#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "rtnetlink.h"

// In the headers of Linux 5.8 and later.
#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)
#endif

namespace tuntap2 {
namespace {

unsigned long InodeOf(int fd) {
  struct stat status = {};
  return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

unsigned long OwnNamespace() {
  struct stat status = {};
  return stat("/proc/thread-self/ns/net", &status) == 0 ? status.st_ino : 0;
}

bool NameOf(int tun, ifreq* request) {
  memset(request, 0, sizeof(*request));
  if (ioctl(tun, TUNGETIFF, request) < 0) return false;
  // The flags share their place with what is asked next.
  memset(&request->ifr_ifru, 0, sizeof(request->ifr_ifru));
  return true;
}

// What a socket of the link's namespace says of it.
bool ReadState(int socket, int tun, LinkState* state) {
  ifreq request;
  if (!NameOf(tun, &request) || ioctl(socket, SIOCGIFMTU, &request) < 0) return false;
  state->mtu = request.ifr_mtu;
  if (ioctl(socket, SIOCGIFFLAGS, &request) < 0) return false;
  state->is_up = (request.ifr_flags & IFF_UP) != 0;
  return true;
}

struct Visit {
  const int name_space;
  const int tun;
  LinkState* const state;
  bool succeeded;
};

void* ReadThere(void* argument) {
  Visit* visit = static_cast<Visit*>(argument);
  if (setns(visit->name_space, CLONE_NEWNET) < 0) return nullptr;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  visit->succeeded = ReadState(fd, visit->tun, visit->state);
  close(fd);
  return nullptr;
}

// A thread of its own goes to the other namespace, so nobody else's moves, and leaves nothing there.
bool ReadIn(int name_space, int tun, LinkState* state) {
  Visit visit{name_space, tun, state, false};
  pthread_t visitor;
  if (pthread_create(&visitor, nullptr, ReadThere, &visit) != 0) return false;
  pthread_join(visitor, nullptr);
  return visit.succeeded;
}

}  // namespace

Failure SetLinkMtu(int tun, int mtu) {
  ifreq request;
  if (!NameOf(tun, &request)) return Failure{errno, "ioctl(TUNGETIFF)"};
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Failure{errno, "socket"};
  request.ifr_mtu = mtu;
  const Failure failure =
      ioctl(fd, SIOCSIFMTU, &request) == 0 ? Failure{} : Failure{errno, "ioctl(SIOCSIFMTU)"};
  close(fd);
  return failure;
}

bool LinkWatch::Read(LinkState* state) {
  const int there = ioctl(tun_, TUNGETDEVNETNS);  // without CAP_NET_ADMIN, or before Linux 5.8, it fails
  if (there >= 0 && InodeOf(there) != OwnNamespace()) {
    Close();
    const bool is_known = ReadIn(there, tun_, state);
    close(there);
    return is_known;
  }
  if (there >= 0) close(there);
  if (socket_ < 0 && SubscribeToChanges(RTMGRP_LINK, &socket_).happened()) return false;
  DrainChanges(socket_);
  return ReadState(socket_, tun_, state);
}

void LinkWatch::Close() {
  if (socket_ >= 0) close(socket_);
  socket_ = -1;
}

}  // namespace tuntap2
