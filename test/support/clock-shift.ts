// A wall clock that a test can set, for one process: a library before libc's that adds seconds from a file. Only the wall
// clock: what counts from the machine's start goes on. It says nothing about static binaries, whose calls pass it by.

import { constants } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile long *shift;

__attribute__((constructor)) static void map_shift(void) {
  static const long none;
  const char *path = getenv("CLOCK_SHIFT_FILE");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *at = fd < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
  shift = at == MAP_FAILED ? &none : at;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += shift ? *shift : 0;
  return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  static int (*real)(struct timeval *restrict, void *restrict);
  if (!real) real = (int (*)(struct timeval *restrict, void *restrict))dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(time, zone);
  if (result == 0) time->tv_sec += shift ? *shift : 0;
  return result;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
`;

export class ClockShift {
  /** For the environment of the process. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;

  private constructor(library: string, file: string) {
    this.env = { LD_PRELOAD: library, CLOCK_SHIFT_FILE: file };
    this.#file = file;
  }

  /** Builds the library in `directory`. The clock is right until `set`. */
  static async build(directory: string): Promise<ClockShift> {
    const [source, library, file] = ['clock-shift.c', 'clock-shift.so', 'shift'].map((name) =>
      join(directory, name),
    ) as [string, string, string];
    await writeFile(source, SOURCE);
    await execa('cc', ['-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', library, source, '-ldl']);
    const clock = new ClockShift(library, file);
    await clock.set(0);
    return clock;
  }

  /** The wall clock is `seconds` ahead of the machine's from now on; negative is behind. */
  async set(seconds: number): Promise<void> {
    // In place: the process has this very file mapped.
    await using file = await open(this.#file, constants.O_RDWR | constants.O_CREAT, 0o600);
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    await file.write(bytes, 0, bytes.length, 0);
  }
}
