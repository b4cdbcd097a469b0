// Where a node serves pages: an address that is written out, and a TCP port; or a Unix socket.

import { parseEndpoint } from '../address/endpoint.ts';
import { type IpAddress, type Parsed, renderIp } from '../address/ip.ts';

export type ListenAddress =
  | {
      readonly kind: 'address';
      readonly address: IpAddress;
      readonly zone: string | null;
      readonly port: number;
    }
  /** In the file it counts from the folder of the file; in a NodeConfig it is absolute. */
  | { readonly kind: 'path'; readonly path: string };

/** `sockaddr_un` of Linux, less its end. */
const LONGEST_PATH_BYTES = 107;

/** Reads `127.0.0.1:9586`, `[::1]:9586` or a path, which has a slash. */
export function parseListen(text: string): Parsed<ListenAddress> {
  if (text.includes('/')) {
    if (text.includes('\0')) return { ok: false, problem: 'a path has no zero byte' };
    return Buffer.byteLength(text) <= LONGEST_PATH_BYTES
      ? { ok: true, value: { kind: 'path', path: text } }
      : { ok: false, problem: `the path of a socket has at most ${LONGEST_PATH_BYTES} bytes` };
  }
  const endpoint = parseEndpoint(text);
  if (!endpoint.ok) return endpoint;
  if (endpoint.value.kind === 'name') {
    return {
      ok: false,
      problem: 'a name may mean another address tomorrow, so the address itself is needed',
    };
  }
  if (endpoint.value.address.bytes.every((byte) => byte === 0)) {
    return { ok: false, problem: 'that is every address of this host, also those that strangers reach' };
  }
  return { ok: true, value: endpoint.value };
}

/** As an operator would ask for it. */
export function renderListen(listen: ListenAddress): string {
  if (listen.kind === 'path') return listen.path;
  const host = renderIp(listen.address);
  const zone = listen.zone === null ? '' : `%${listen.zone}`;
  return `http://${listen.address.version === 4 ? host : `[${host}${zone}]`}:${listen.port}`;
}
