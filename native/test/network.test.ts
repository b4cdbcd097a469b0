// What the kernel says of the host: its own addresses, and word of changes, also after more news than it could hold.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { localPrefixes, type NetworkWatch, watchNetwork } from '../index.ts';
import { ip, requireTestNamespace } from './support/namespace.ts';

const DEVICE = 'words0';
const watches: NetworkWatch[] = [];

beforeAll(() => {
  requireTestNamespace();
  ip(`link add name ${DEVICE} type bridge`);
  ip(`link set dev ${DEVICE} up`);
  return () => ip(`link delete dev ${DEVICE}`);
});
afterEach(() => {
  for (const watch of watches.splice(0)) watch.close();
});

/** A watch, how often it told, and the next time that it does. */
function watched(): { watch: NetworkWatch; told: () => number; next: () => Promise<unknown> } {
  const target = new EventTarget();
  let count = 0;
  const watch = watchNetwork(() => {
    count++;
    target.dispatchEvent(new Event('change'));
  });
  watches.push(watch);
  return {
    watch,
    told: () => count,
    next: () => once(target, 'change', { signal: AbortSignal.timeout(10_000) }),
  };
}

describe('the addresses of this host', () => {
  it('are those of every interface, and the networks that are its own', () => {
    ip(`address add 198.51.100.1 peer 198.51.100.2 dev ${DEVICE}`);
    ip(`address add 2001:db8:77::1/64 dev ${DEVICE} nodad`);
    ip('route add local 203.0.113.0/24 dev lo');
    const own = localPrefixes();
    expect(own).toEqual(
      expect.arrayContaining(['127.0.0.0/8', '127.0.0.1/32', '::1/128', '198.51.100.1/32', '203.0.113.0/24']),
    );
    expect(own).toContain('2001:db8:77::1/128');
    expect(own).not.toContain('198.51.100.2/32');
    ip('route delete local 203.0.113.0/24 dev lo');
    expect(localPrefixes()).not.toContain('203.0.113.0/24');
  });

  it('are there without a carrier, too', () => {
    ip('link add name bare0 type veth peer name bare1');
    ip('address add 203.0.113.9/24 dev bare0');
    ip('link set dev bare0 up');
    expect(ip('-o link show dev bare0')).toContain('NO-CARRIER');
    expect(localPrefixes()).toContain('203.0.113.9/32');
    ip('link delete dev bare0');
    expect(localPrefixes()).not.toContain('203.0.113.9/32');
  });

  it('are read whole when there are thousands', () => {
    const lines = Array.from({ length: 3000 }, (_, i) => `192.0.${i >> 8}.${i & 255}/32`);
    batch(lines.map((address) => `address add ${address} dev ${DEVICE}`));
    const own = new Set(localPrefixes());
    expect(lines.filter((address) => !own.has(address))).toEqual([]);
    ip(`address flush dev ${DEVICE} to 192.0.0.0/16`);
  });
});

describe('word of changes', () => {
  it.each([
    `address add 198.51.100.7/32 dev ${DEVICE}`,
    `address delete 198.51.100.7/32 dev ${DEVICE}`,
    `address add 2001:db8:78::1/128 dev ${DEVICE} nodad`,
    `address delete 2001:db8:78::1/128 dev ${DEVICE}`,
    `link set dev ${DEVICE} down`,
    `link set dev ${DEVICE} up`,
  ])('comes after ip %s', async (words) => {
    const { next } = watched();
    const change = next();
    ip(words);
    await change;
  });

  it('comes also where news were lost, and after that', async () => {
    const { told, next } = watched();
    const lost = next();
    // Far more than the socket holds, while nobody reads.
    batch(Array.from({ length: 4000 }, (_, i) => `address add 192.1.${i >> 8}.${i & 255}/32 dev ${DEVICE}`));
    await lost;
    const before = told();
    const change = next();
    ip(`address flush dev ${DEVICE} to 192.1.0.0/16`);
    await change;
    const later = next();
    ip(`address add 198.51.100.8/32 dev ${DEVICE}`);
    await later;
    expect(told()).toBeGreaterThan(before);
  });

  it('does not come after the end', async () => {
    const [ended, other] = [watched(), watched()];
    ended.watch.close();
    ended.watch.close();
    const change = other.next();
    ip(`address add 198.51.100.9/32 dev ${DEVICE}`);
    await change;
    expect(ended.told()).toBe(0);
  });

  it('is for a function', () => {
    expect(() => watchNetwork('no' as unknown as () => void)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    );
  });

  it('keeps no process alive, and what its callback throws is not lost', () => {
    const module = JSON.stringify(fileURLToPath(new URL('../index.ts', import.meta.url)));
    const run = (code: string) =>
      execFileSync(process.execPath, ['--input-type=module', '-e', `import * as n from ${module}; ${code}`], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: 30_000,
      });
    expect(run('n.watchNetwork(() => {}); console.log("ready")')).toBe('ready\n');
    const throws = `
      import { execFileSync } from 'node:child_process';
      process.once('uncaughtException', ({ message }) => { console.log(message); process.exit(); });
      n.watchNetwork(() => { throw new Error('thrown in it'); });
      setTimeout(() => {}, 20_000);
      execFileSync('ip', ['address', 'add', '198.51.100.10/32', 'dev', '${DEVICE}']);`;
    expect(run(throws)).toBe('thrown in it\n');
  });
});

function batch(lines: readonly string[]): void {
  execFileSync('ip', ['-batch', '-'], { input: lines.join('\n'), stdio: ['pipe', 'ignore', 'inherit'] });
}
