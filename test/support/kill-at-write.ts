// A process that is killed at a write of its own choosing by the test: a library before libc's that counts what changes
// files (made, synced, renamed, removed), and the commands it runs, and ends the process by SIGKILL before the one that is to be
// its last; such a command does not run then.

import { constants } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Writes that are left, 0 = any number. */
static long *left;
/* Who loaded this library: a child of it has another number. */
static pid_t born;

__attribute__((constructor)) static void map_left(void) {
  static long any;
  born = getpid();
  const char *path = getenv("KILL_AT_WRITE_FILE");
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  void *at = fd < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  left = at == MAP_FAILED ? &any : at;
}

static int is_last(void) {
  return left && __atomic_load_n(left, __ATOMIC_SEQ_CST) > 0 && __atomic_sub_fetch(left, 1, __ATOMIC_SEQ_CST) == 0;
}

static void count(void) {
  if (is_last()) kill(getpid(), SIGKILL);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int rename(const char *from, const char *to) { count(); return NEXT(rename)(from, to); }
int unlink(const char *path) { count(); return NEXT(unlink)(path); }
/* A process that has made a child to run a command: what only becomes another program is not meant. */
int execvp(const char *file, char *const arguments[]) {
  if (getpid() != born && is_last()) {
    kill(getppid(), SIGKILL);
    _exit(1);
  }
  return NEXT(execvp)(file, arguments);
}
int fsync(int fd) { count(); return NEXT(fsync)(fd); }

static int counted_open(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
  if (flags & O_CREAT) count();
  return real(path, flags, mode);
}

#undef open
#undef open64
int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return counted_open((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"), path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return counted_open((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64"), path, flags, mode);
}
`;

export class KillAtWrite {
  /** For the environment of the process. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;

  private constructor(library: string, file: string) {
    this.env = { LD_PRELOAD: library, KILL_AT_WRITE_FILE: file };
    this.#file = file;
  }

  /** Builds the library in `directory`. Nothing is killed until `set`. */
  static async build(directory: string): Promise<KillAtWrite> {
    const source = join(directory, 'kill-at-write.c');
    const library = join(directory, 'kill-at-write.so');
    await writeFile(source, SOURCE);
    await execa('cc', ['-shared', '-fPIC', '-O1', '-Wall', '-o', library, source, '-ldl']);
    const made = new KillAtWrite(library, join(directory, 'writes-left'));
    await made.set(0);
    return made;
  }

  /** The process ends before its `count`th write from now on; 0: it does not. */
  async set(count: number): Promise<void> {
    await using file = await open(this.#file, constants.O_RDWR | constants.O_CREAT, 0o600);
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(count));
    await file.write(bytes, 0, bytes.length, 0);
  }

  /** Writes that are left before the kill; 0 once it came, or none was asked for. */
  async left(): Promise<number> {
    await using file = await open(this.#file, constants.O_RDONLY);
    const bytes = Buffer.alloc(8);
    await file.read(bytes, 0, bytes.length, 0);
    return Number(bytes.readBigInt64LE());
  }
}
