// What the kernel says of a network namespace by rtnetlink(7): word that something changed, and the addresses
// that are its own. Messages are read for what is needed here and are otherwise news without content.
#ifndef TUNTAP2_RTNETLINK_H_
#define TUNTAP2_RTNETLINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "failure.h"

namespace tuntap2 {

// A non-blocking socket in the calling thread's namespace that is readable after changes of these groups
// (RTMGRP_…). Needs no privilege.
Failure SubscribeToChanges(uint32_t groups, int* fd);

// Takes all news off such a socket, also its error after news were lost (ENOBUFS): it goes on then.
void DrainChanges(int fd);

// Appends what the kernel takes for itself in the calling thread's namespace, as "203.0.113.1/32": the
// addresses of all interfaces, also of those that are down, and the local routes.
Failure ReadLocalPrefixes(std::vector<std::string>* prefixes);

}  // namespace tuntap2

#endif  // TUNTAP2_RTNETLINK_H_
