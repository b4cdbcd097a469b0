// What a change makes of a device, and what the lane is told: held against the rules of conventions that `wg` relies on,
// and, for random requests, against a slow model that follows them line by line.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { renderPrefix, unpackPrefix } from '../../../../src/address/prefix.ts';
import { generatePrivateKey, publicKeyOf } from '../../../../src/config/key.ts';
import { DeviceModel, type DeviceSteps, MOST_PEERS } from '../../../../src/control/uapi/model.ts';
import { parseSet } from '../../../../src/control/uapi/parse.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const KEYS = ['a', 'b', 'c', 'd'].map((digit) => digit.repeat(64));
const [A = '', B = ''] = KEYS;

function set(model: DeviceModel, ...lines: readonly string[]): DeviceSteps {
  const parsed = parseSet(Buffer.from(lines.join('\n')));
  if (!parsed.ok) throw new Error(`refused with ${parsed.errno}: ${lines.join(', ')}`);
  return model.apply(parsed.change);
}

function peersOf(model: DeviceModel): Record<string, string[]> {
  return Object.fromEntries(
    Array.from(model.peers(), (peer) => [
      hex(peer.publicKey),
      Array.from(peer.allowedIps, (prefix) => renderPrefix(unpackPrefix(prefix))).sort(),
    ]),
  );
}

describe('peers', () => {
  test('come, change and go', () => {
    const model = new DeviceModel();
    expect(set(model, `public_key=${A}`).added).toHaveLength(1);
    expect(set(model, `public_key=${A}`)).toMatchObject({ added: [], changed: [], removed: [] });
    expect(set(model, `public_key=${A}`, 'persistent_keepalive_interval=5').changed).toMatchObject([
      { hasNewKeepalive: true, hasNewEndpoint: false, hasNewPresharedKey: false },
    ]);
    expect(set(model, `public_key=${A}`, 'remove=true').removed.map(({ id }) => id)).toEqual([0]);
    expect(set(model, `public_key=${A}`, 'remove=true').removed.map(({ id }) => id)).toEqual([]);
    expect(peersOf(model)).toEqual({});
  });

  test('are not made by update_only', () => {
    const model = new DeviceModel();
    set(model, `public_key=${A}`, 'update_only=true', 'allowed_ip=10.0.0.0/8');
    expect(peersOf(model)).toEqual({});
    set(model, `public_key=${A}`);
    set(model, `public_key=${A}`, 'update_only=true', 'allowed_ip=10.0.0.0/8');
    expect(peersOf(model)).toEqual({ [A]: ['10.0.0.0/8'] });
  });

  test('are all replaced, and are others then, even those that come back', () => {
    const model = new DeviceModel();
    set(model, `public_key=${A}`, `public_key=${B}`);
    const steps = set(model, 'replace_peers=true', `public_key=${B}`);
    expect(steps.removed.map(({ id }) => id)).toEqual([0, 1]);
    expect(steps.added.map(({ id }) => id)).toEqual([2]);
    expect(peersOf(model)).toEqual({ [B]: [] });
  });

  test('that come and go in one request were never there', () => {
    const model = new DeviceModel();
    const steps = set(model, `public_key=${A}`, 'allowed_ip=10.0.0.0/8', `public_key=${A}`, 'remove=true');
    expect(steps).toMatchObject({ removed: [], added: [], allowed: [], disallowed: [] });
  });

  test('are not refused for their number while there is room', () => {
    const model = new DeviceModel();
    const peer = (i: number) => ({ publicKey: Buffer.from(String(i).padStart(32)), allowedIps: [] });
    const peers = Array.from({ length: MOST_PEERS }, (_, i) => peer(i));
    expect(model.hasRoomFor({ peers: [...peers, peer(0)] })).toBe(true);
    expect(model.hasRoomFor({ peers: [...peers, peer(MOST_PEERS)] })).toBe(false);
    model.apply({ peers });
    expect(model.hasRoomFor({ peers: [peer(MOST_PEERS)] })).toBe(false);
    expect(model.hasRoomFor({ peers: [{ ...peer(0), remove: true }, peer(MOST_PEERS)] })).toBe(true);
    expect(model.hasRoomFor({ replacePeers: true, peers: [peer(MOST_PEERS)] })).toBe(true);
  });
});

describe('allowed IPs', () => {
  test('move to the peer that was given them last', () => {
    const model = new DeviceModel();
    set(model, `public_key=${A}`, 'allowed_ip=10.0.0.0/8', 'allowed_ip=fd09::/16', `public_key=${B}`);
    const steps = set(model, `public_key=${B}`, 'allowed_ip=10.0.0.0/8');
    expect(peersOf(model)).toEqual({ [A]: ['fd09::/16'], [B]: ['10.0.0.0/8'] });
    expect(steps.disallowed.map(({ peer }) => peer)).toEqual([0]);
    expect(steps.allowed.map(({ peer }) => peer)).toEqual([1]);
  });

  test('that are replaced by the same ones never leave', () => {
    const model = new DeviceModel();
    set(model, `public_key=${A}`, 'allowed_ip=10.0.0.0/8', 'allowed_ip=10.1.0.0/16');
    const steps = set(model, `public_key=${A}`, 'replace_allowed_ips=true', 'allowed_ip=10.0.0.0/8');
    expect(steps.disallowed.map(({ prefix }) => renderPrefix(unpackPrefix(prefix)))).toEqual(['10.1.0.0/16']);
    expect(steps.allowed).toEqual([]);
  });

  test('are taken only from the peer that has them', () => {
    const model = new DeviceModel();
    set(model, `public_key=${A}`, 'allowed_ip=10.0.0.0/8', `public_key=${B}`, 'allowed_ip=-10.0.0.0/8');
    expect(peersOf(model)).toEqual({ [A]: ['10.0.0.0/8'], [B]: [] });
    set(model, `public_key=${A}`, 'allowed_ip=-10.0.0.0/8');
    expect(peersOf(model)).toEqual({ [A]: [], [B]: [] });
  });

  test('go with their peer, and are free for others', () => {
    const model = new DeviceModel();
    set(model, `public_key=${A}`, 'allowed_ip=10.0.0.0/8');
    set(model, `public_key=${A}`, 'remove=true', `public_key=${B}`, 'allowed_ip=10.0.0.0/8');
    expect(peersOf(model)).toEqual({ [B]: ['10.0.0.0/8'] });
  });
});

describe('the private key', () => {
  const privateKey = generatePrivateKey();
  const own = hex(publicKeyOf(privateKey));

  test('set again changes nothing', () => {
    const model = new DeviceModel();
    expect(set(model, `private_key=${hex(privateKey)}`).hasNewPrivateKey).toBe(true);
    expect(set(model, `private_key=${hex(privateKey)}`).hasNewPrivateKey).toBe(false);
    expect(set(model, `private_key=${'0'.repeat(64)}`).hasNewPrivateKey).toBe(true);
    expect(model.privateKey).toBeUndefined();
  });

  test('removes the peer whose key is ours, and keeps it out', () => {
    const model = new DeviceModel();
    set(model, `public_key=${own}`, `public_key=${A}`);
    expect(set(model, `private_key=${hex(privateKey)}`).removed.map(({ id }) => id)).toEqual([0]);
    set(model, `public_key=${own}`, 'allowed_ip=10.0.0.0/8');
    expect(peersOf(model)).toEqual({ [A]: [] });
  });
});

/** The same rules, a line at a time, over all peers: slow and obvious. */
class SlowModel {
  readonly peers = new Map<string, Set<string>>();

  take(lines: readonly string[]): void {
    let key = '';
    let isIgnored = false;
    for (const line of lines) {
      const [name = '', value = ''] = line.split('=');
      if (name === 'replace_peers') this.peers.clear();
      else if (name === 'public_key') [key, isIgnored] = [value, false];
      if (key === '' || isIgnored) continue;
      if (name === 'remove') {
        this.peers.delete(key);
        isIgnored = true;
        continue;
      }
      if (name === 'update_only') {
        isIgnored = !this.peers.has(key);
        continue;
      }
      if (name === 'public_key') continue;
      const own = this.peers.get(key) ?? new Set();
      this.peers.set(key, own);
      if (name === 'replace_allowed_ips') own.clear();
      if (name !== 'allowed_ip') continue;
      if (value.startsWith('-')) own.delete(value.slice(1));
      else {
        for (const others of this.peers.values()) others.delete(value);
        own.add(value);
      }
    }
  }
}

test('random requests: as the slow model has it, and so has whoever follows the steps', () => {
  const prefix = fc.constantFrom('10.0.0.0/8', '10.0.0.0/16', '0.0.0.0/0', 'fd09::/16', '::/0');
  const allowedIp = prefix.chain((text) => fc.constantFrom(`allowed_ip=${text}`, `allowed_ip=-${text}`));
  const section = fc
    .tuple(
      fc.constantFrom(...KEYS),
      fc.constantFrom([], ['update_only=true'], ['remove=true']),
      fc.array(fc.oneof(allowedIp, allowedIp, fc.constant('replace_allowed_ips=true')), { maxLength: 4 }),
    )
    .map(([key, first, rest]) => [
      `public_key=${key}`,
      ...first,
      ...(first[0] === undefined ? ['protocol_version=1'] : []),
      ...rest,
    ]);
  const request = fc
    .tuple(fc.constantFrom([], [], [], ['replace_peers=true']), fc.array(section, { maxLength: 4 }))
    .map(([first, sections]) => [...first, ...sections.flat()]);
  fc.assert(
    fc.property(fc.array(request, { maxLength: 6 }), (requests) => {
      const [model, slow] = [new DeviceModel(), new SlowModel()];
      const followed = new Map<number, Set<string>>();
      for (const lines of requests) {
        slow.take(lines);
        const steps = set(model, ...lines);
        for (const { id } of steps.removed) expect(followed.delete(id)).toBe(true);
        for (const { id } of steps.added) followed.set(id, new Set());
        for (const step of steps.disallowed) expect(followed.get(step.peer)?.delete(step.prefix)).toBe(true);
        for (const step of steps.allowed) {
          for (const others of followed.values()) others.delete(step.prefix); // as the core does
          followed.get(step.peer)?.add(step.prefix);
        }
      }
      expect(peersOf(model)).toEqual(
        Object.fromEntries(Array.from(slow.peers, ([key, prefixes]) => [key, [...prefixes].sort()])),
      );
      for (const peer of model.peers()) expect(followed.get(peer.id)).toEqual(peer.allowedIps);
      expect(followed.size).toBe(model.peerCount);
    }),
    { numRuns: 1000 },
  );
});
