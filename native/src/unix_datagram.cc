// See unix_datagram.h.
#include "unix_datagram.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace tuntap2 {

Failure SendUnixDatagram(const std::string& address, const std::string& text) {
  sockaddr_un to = {};
  to.sun_family = AF_UNIX;
  if (address.empty() || address.size() > kMaxUnixAddressBytes) return {EINVAL, "sendto"};
  std::memcpy(to.sun_path, address.data(), address.size());
  if (address[0] == '@') to.sun_path[0] = '\0';
  // An abstract name is as long as the address says, zero bytes included; a path ends with one.
  const size_t end = address[0] == '@' ? address.size() : address.size() + 1;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + end);

  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {errno, "socket"};
  ssize_t sent;
  do {
    sent = sendto(fd, text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&to), length);
  } while (sent < 0 && errno == EINTR);
  const int error = sent < 0 ? errno : 0;
  close(fd);
  return {error, "sendto"};
}

}  // namespace tuntap2
