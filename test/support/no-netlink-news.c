// Preloaded in front of the C library: nobody may have news by netlink, as under a sandbox that allows no such groups.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

int bind(int fd, const struct sockaddr* address, socklen_t length) {
  int (*next)(int, const struct sockaddr*, socklen_t) = dlsym(RTLD_NEXT, "bind");
  if (address->sa_family == AF_NETLINK && ((const struct sockaddr_nl*)address)->nl_groups != 0) {
    errno = EPERM;
    return -1;
  }
  return next(fd, address, length);
}
