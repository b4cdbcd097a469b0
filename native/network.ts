// The host as the kernel sees it: which addresses are its own, and word when addresses or links change. Twins:
// src/rtnetlink.cc, src/network_watch.cc.

import { addon, SystemCallError } from './addon.ts';
import { checkType } from './checks.ts';

/** Word of changes, until it is closed. */
export interface NetworkWatch {
  /** Nobody is told any more; a second call does nothing. */
  close(): void;
}

/**
 * Calls back, on this thread's event loop, after addresses or links of this thread's network namespace have changed: once for
 * many that come together, and also when the kernel had to drop some of its news. What has changed is for the callee to read,
 * for instance by {@link localPrefixes}; what its callback throws is an uncaught exception. Does not keep the process alive.
 * Needs no privilege.
 * @throws SystemCallError where the system has no such socket: `EAFNOSUPPORT`, `EPERM` under some sandboxes
 */
export function watchNetwork(onChange: () => void): NetworkWatch {
  checkType('onChange', onChange, 'function');
  const watch = new addon.NetworkWatch();
  const failure = watch.open(onChange);
  if (failure !== undefined) throw new SystemCallError('cannot watch the network', failure);
  return { close: () => watch.close() };
}

/**
 * What the kernel takes for this host itself, in this thread's network namespace: every address of every interface, also of
 * those that are down or without a carrier, as `203.0.113.1/32`, and the routes of type `local`, such as `127.0.0.0/8`. In no
 * order; many are there twice.
 * @throws SystemCallError `EAFNOSUPPORT`, `EPERM` under some sandboxes
 */
export function localPrefixes(): string[] {
  const prefixes = addon.localPrefixes();
  if ('errno' in prefixes) throw new SystemCallError('cannot read the addresses of this host', prefixes);
  return prefixes;
}
