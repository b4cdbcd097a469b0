// What a lane is told of a change: followed piece by piece it has what the model has, and no piece is large.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { packPrefix, parsePrefix } from '../../../src/address/prefix.ts';
import { DeviceModel } from '../../../src/control/uapi/model.ts';
import { parseSet } from '../../../src/control/uapi/parse.ts';
import type { LaneChange } from '../../../src/lane/messages.ts';
import { PREFIX_BYTES, PrefixPacker, readPrefixes } from '../../../src/lane/prefixes.ts';
import { laneChanges, wholeChange } from '../../../src/node/lane-changes.ts';

/** A lane's view: its peers and who has which prefix, a prefix having one peer at most. */
class Follower {
  readonly peers = new Map<number, { readonly key: string; keepalive: number }>();
  readonly owners = new Map<string, number>();

  take(change: LaneChange): void {
    for (const id of change.removed) {
      expect(this.peers.delete(id)).toBe(true);
      for (const [prefix, owner] of this.owners) if (owner === id) this.owners.delete(prefix);
    }
    for (const peer of change.added) {
      this.peers.set(peer.id, {
        key: Buffer.from(peer.publicKey).toString('hex'),
        keepalive: peer.keepaliveSeconds,
      });
    }
    for (const { id, keepaliveSeconds } of change.edited) {
      const peer = this.peers.get(id);
      if (peer !== undefined && keepaliveSeconds !== undefined) peer.keepalive = keepaliveSeconds;
    }
    readPrefixes(change.prefixes, (peer, isGiven, address, length) => {
      const prefix = `${Buffer.from(address).toString('hex')}/${length}`;
      if (isGiven) this.owners.set(prefix, peer);
      else if (this.owners.get(prefix) === peer) this.owners.delete(prefix);
    });
  }
}

function apply(model: DeviceModel, lines: readonly string[]): LaneChange[] {
  const parsed = parseSet(Buffer.from(lines.join('\n')));
  if (!parsed.ok) throw new Error(`refused with ${parsed.errno}`);
  return laneChanges(model.apply(parsed.change), model);
}

const key = (i: number): string => (i + 1).toString(16).padStart(64, '0');

function expectFollowed(model: DeviceModel, follower: Follower): void {
  const fresh = new Follower();
  fresh.take(wholeChange(model));
  expect(follower).toEqual(fresh);
}

describe('a lane that follows', () => {
  test('has what a fresh one is given, whatever was asked for', () => {
    const line = fc.constantFrom(
      'allowed_ip=10.0.0.0/8',
      'allowed_ip=-10.0.0.0/8',
      'allowed_ip=fd09::/16',
      'replace_allowed_ips=true',
      'persistent_keepalive_interval=5',
      'remove=true',
    );
    const section = fc
      .tuple(fc.nat(3), fc.array(line, { maxLength: 4 }))
      .map(([i, lines]) => [`public_key=${key(i)}`, ...lines]);
    const request = fc
      .tuple(fc.constantFrom([], ['replace_peers=true']), fc.array(section, { maxLength: 4 }))
      .map(([first, sections]) => [...first, ...sections.flat()]);
    fc.assert(
      fc.property(fc.array(request, { maxLength: 6 }), (requests) => {
        const [model, follower] = [new DeviceModel(), new Follower()];
        for (const lines of requests) for (const change of apply(model, lines)) follower.take(change);
        expectFollowed(model, follower);
      }),
    );
  });

  test('gets a small change in one piece, and a large one in small pieces', () => {
    const [model, follower] = [new DeviceModel(), new Follower()];
    const small = apply(model, [`private_key=${key(7)}`, `public_key=${key(0)}`, 'allowed_ip=10.0.0.0/8']);
    expect(small).toHaveLength(1);
    const many = Array.from({ length: 3_000 }, (_, i) => [
      `public_key=${key(i)}`,
      `allowed_ip=10.${i >> 8}.${i & 255}.0/24`,
    ]);
    const clear = ['replace_peers=true', `public_key=${key(1)}`];
    const pieces = [...apply(model, many.flat()), ...apply(model, clear)];
    for (const { removed, added, edited, prefixes } of pieces) {
      expect(removed.length + added.length + edited.length).toBeLessThanOrEqual(32);
      expect(prefixes.length).toBeLessThanOrEqual(2_048 * PREFIX_BYTES);
      // A message takes all of the memory that a view is of.
      expect(prefixes.buffer.byteLength).toBe(prefixes.byteLength);
    }
    for (const change of [...small, ...pieces]) follower.take(change);
    expectFollowed(model, follower);
    expect(follower.peers.size).toBe(1);
  });
});

test('packed prefixes are read as they were written', () => {
  const texts = ['0.0.0.0/0', '10.9.0.2/32', '::/0', 'fd09::/64', '2001:db8::1/128'];
  const packer = new PrefixPacker(texts.length);
  const prefixes = texts.map((text) => {
    const parsed = parsePrefix(text);
    if (!parsed.ok) throw new Error(parsed.problem);
    return parsed.value;
  });
  for (const [i, { address, length }] of prefixes.entries())
    packer.add(2 ** 32 - 1 - i, i % 2 === 0, address.bytes, length);
  const read: unknown[] = [];
  readPrefixes(packer.bytes(), (peer, isGiven, bytes, length) => {
    const version = bytes.length === 4 ? 4 : 6;
    read.push([peer, isGiven, packPrefix({ address: { version, bytes }, length })]);
  });
  expect(read).toEqual(prefixes.map((prefix, i) => [2 ** 32 - 1 - i, i % 2 === 0, packPrefix(prefix)]));
});
