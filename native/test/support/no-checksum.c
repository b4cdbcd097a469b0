// Preloaded in front of the C library: answers EIO to every train, as kernels before 6.11 do where the device cannot make
// checksums (Linux net/ipv4/udp.c, udp_send_skb).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define UDP_SEGMENT_OPTION 103

static int is_train(struct msghdr* header) {
  struct cmsghdr* control = CMSG_FIRSTHDR(header);
  for (; control != 0; control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_SEGMENT_OPTION) return 1;
  }
  return 0;
}

int sendmmsg(int fd, struct mmsghdr* messages, unsigned int count, int flags) {
  int (*next)(int, struct mmsghdr*, unsigned int, int) = dlsym(RTLD_NEXT, "sendmmsg");
  unsigned int plain = 0;
  while (plain < count && !is_train(&messages[plain].msg_hdr)) ++plain;
  if (plain == 0 && count > 0) {
    errno = EIO;
    return -1;
  }
  return next(fd, messages, plain, flags);
}
