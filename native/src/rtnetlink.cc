// See rtnetlink.h.
#include "rtnetlink.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

// In the headers of Linux 4.20 and later.
#ifndef NETLINK_GET_STRICT_CHK
#define NETLINK_GET_STRICT_CHK 12
#endif

namespace tuntap2 {
namespace {

// What the kernel fills a read of a dump with at most: netlink_dump() in net/netlink/af_netlink.c.
constexpr size_t kDumpBytes = 32 * 1024;
// A dump during which the table changed is asked for again; then it is taken as it is, for word of the change
// comes.
constexpr int kDumpAttempts = 3;

class Socket {
 public:
  explicit Socket(int flags) : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

void Append(int family, const void* address, int length, std::vector<std::string>* prefixes) {
  char text[INET6_ADDRSTRLEN];
  if (inet_ntop(family, address, text, sizeof(text)) == nullptr) return;
  prefixes->push_back(std::string(text) + "/" + std::to_string(length));
}

// The payload of the first attribute of one of the types that is as long as an address, the types in order;
// or null.
const void* AddressIn(const rtattr* attribute, int length, int family, std::initializer_list<int> types) {
  const int address_bytes = family == AF_INET ? 4 : 16;
  for (const int type : types) {
    int left = length;
    for (const rtattr* at = attribute; RTA_OK(at, left); at = RTA_NEXT(at, left)) {
      if (at->rta_type == type && RTA_PAYLOAD(at) == static_cast<size_t>(address_bytes)) return RTA_DATA(at);
    }
  }
  return nullptr;
}

void ReadAddress(const nlmsghdr* header, int family, std::vector<std::string>* prefixes) {
  if (header->nlmsg_type != RTM_NEWADDR || header->nlmsg_len < NLMSG_LENGTH(sizeof(ifaddrmsg))) return;
  const auto* message = static_cast<const ifaddrmsg*>(NLMSG_DATA(header));
  if (message->ifa_family != family) return;
  // Of a point-to-point link IFA_ADDRESS is the other end.
  const void* address =
      AddressIn(IFA_RTA(message), static_cast<int>(IFA_PAYLOAD(header)), family, {IFA_LOCAL, IFA_ADDRESS});
  if (address != nullptr) Append(family, address, family == AF_INET ? 32 : 128, prefixes);
}

void ReadRoute(const nlmsghdr* header, int family, std::vector<std::string>* prefixes) {
  if (header->nlmsg_type != RTM_NEWROUTE || header->nlmsg_len < NLMSG_LENGTH(sizeof(rtmsg))) return;
  const auto* message = static_cast<const rtmsg*>(NLMSG_DATA(header));
  if (message->rtm_family != family || message->rtm_table != RT_TABLE_LOCAL || message->rtm_type != RTN_LOCAL)
    return;
  static constexpr uint8_t kAny[16] = {};  // a route to everything names no destination
  const void* destination =
      message->rtm_dst_len == 0
          ? kAny
          : AddressIn(RTM_RTA(message), static_cast<int>(RTM_PAYLOAD(header)), family, {RTA_DST});
  if (destination != nullptr) Append(family, destination, message->rtm_dst_len, prefixes);
}

using Reader = void (*)(const nlmsghdr*, int family, std::vector<std::string>*);

// Sends a request and has all answers read. EINTR: the table changed meanwhile.
Failure DumpOnce(const Socket& socket, const nlmsghdr& request, int family, Reader read,
                 std::vector<std::string>* prefixes) {
  if (send(socket.fd(), &request, request.nlmsg_len, 0) < 0) return Failure{errno, "send"};
  alignas(NLMSG_ALIGNTO) static thread_local char answer[kDumpBytes];
  bool was_interrupted = false;
  for (;;) {
    const ssize_t length = recv(socket.fd(), answer, sizeof(answer), 0);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return Failure{errno, "recv"};
    auto left = static_cast<unsigned>(length);
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(answer); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      was_interrupted |= (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (header->nlmsg_type == NLMSG_DONE) return Failure{was_interrupted ? EINTR : 0, "recv"};
      if (header->nlmsg_type == NLMSG_ERROR && header->nlmsg_len >= NLMSG_LENGTH(sizeof(nlmsgerr)))
        return Failure{-static_cast<const nlmsgerr*>(NLMSG_DATA(header))->error, "recv"};
      read(header, family, prefixes);
    }
  }
}

template <typename Body>
Failure Dump(uint16_t type, const Body& body, int family, Reader read, std::vector<std::string>* prefixes) {
  const Socket socket(0);
  if (socket.fd() < 0) return Failure{errno, "socket"};
  // Where the kernel has it, it sends what the body asks for and no other tables; else Reader leaves them
  // out.
  const int on = 1;
  setsockopt(socket.fd(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
  struct {
    nlmsghdr header;
    Body body;
  } request = {};
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(Body));
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body = body;
  const size_t before = prefixes->size();
  for (int attempt = 1;; ++attempt) {
    prefixes->resize(before);
    const Failure failure = DumpOnce(socket, request.header, family, read, prefixes);
    if (failure.error == EINTR && attempt < kDumpAttempts) continue;
    // A host without IPv6, or without a local table of it, has no such addresses.
    const bool has_none = failure.error == EINTR || failure.error == EOPNOTSUPP ||
                          failure.error == EAFNOSUPPORT || failure.error == ENOENT;
    return has_none ? Failure{} : failure;
  }
}

}  // namespace

Failure SubscribeToChanges(uint32_t groups, int* fd) {
  Socket socket(SOCK_NONBLOCK);
  if (socket.fd() < 0) return Failure{errno, "socket"};
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(socket.fd(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) < 0)
    return Failure{errno, "bind"};
  *fd = socket.Release();
  return Failure{};
}

void DrainChanges(int fd) {
  char news[8192];
  ssize_t length;
  do {
    length = recv(fd, news, sizeof(news), 0);
    // ENOBUFS: some were lost, and the socket goes on. What they said is asked of the kernel anyway.
  } while (length > 0 || (length < 0 && (errno == EINTR || errno == ENOBUFS)));
}

Failure ReadLocalPrefixes(std::vector<std::string>* prefixes) {
  for (const int family : {AF_INET, AF_INET6}) {
    ifaddrmsg addresses = {};
    addresses.ifa_family = static_cast<uint8_t>(family);
    Failure failure = Dump(RTM_GETADDR, addresses, family, ReadAddress, prefixes);
    if (failure.happened()) return failure;
    rtmsg routes = {};
    routes.rtm_family = static_cast<uint8_t>(family);
    routes.rtm_table = RT_TABLE_LOCAL;
    routes.rtm_type = RTN_LOCAL;
    failure = Dump(RTM_GETROUTE, routes, family, ReadRoute, prefixes);
    if (failure.happened()) return failure;
  }
  return Failure{};
}

}  // namespace tuntap2
