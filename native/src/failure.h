// How a set-up call fails: which system call, with which errno. addon.ts makes the Error of it.
#ifndef TUNTAP2_FAILURE_H_
#define TUNTAP2_FAILURE_H_

namespace tuntap2 {

struct Failure {
  int error = 0;             // a positive errno; 0 = it worked
  const char* syscall = "";  // static text
  bool happened() const { return error != 0; }
};

}  // namespace tuntap2

#endif  // TUNTAP2_FAILURE_H_
