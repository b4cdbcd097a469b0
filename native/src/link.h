// The link of a TUN device, wherever it is: its MTU, whether it is up, and word when either changes. A TUN
// can be moved to another network namespace while its descriptor stays, so all questions begin at the
// descriptor, never at a name.
#ifndef TUNTAP2_LINK_H_
#define TUNTAP2_LINK_H_

#include "failure.h"

namespace tuntap2 {

struct LinkState {
  int mtu = 0;
  bool is_up = false;
};

// Sets the MTU of the interface behind a TUN descriptor that is in this namespace.
Failure SetLinkMtu(int tun, int mtu);

// Owns only a netlink socket, and that only while the link is in the namespace of the calling thread: one in
// another namespace would keep that namespace alive when everybody else has left it, and the link with it.
class LinkWatch {
 public:
  explicit LinkWatch(int tun) : tun_(tun) {}
  ~LinkWatch() { Close(); }
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;

  // Takes the news off fd(), follows the link to where it is now, and reads its state there. False if that
  // cannot be known: not permitted, or the link has just moved on.
  bool Read(LinkState* state);

  // Readable when something may have changed; -1 = nobody will tell, so ask now and then. Changes only in
  // Read.
  int fd() const { return socket_; }

  void Close();

 private:
  const int tun_;
  int socket_ = -1;
};

}  // namespace tuntap2

#endif  // TUNTAP2_LINK_H_
