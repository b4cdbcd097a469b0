// {internet} × {services} × {peers}, whole: eight peers, one of each profile that can be made of them, a peer without one,
// and four sites with and without services and the internet. What each may reach stands here, by hand; packets and the
// evaluator have to agree with it.

import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  at,
  type Case,
  isAllowed,
  nameOf,
  networks,
  PLACES,
  type Place,
  PORT,
  PolicyHub,
  placeOf,
  type Rules,
  type Spoke,
  siteOf,
  TRAFFIC,
  type TrafficName,
  VERSIONS,
} from '../support/policy-hub.ts';

type Rights = { readonly internet: boolean; readonly services: boolean; readonly peers: boolean };
type Peer = Spoke & { readonly rights: Rights | null; readonly siteRights?: Rights };

const rights = (internet: 0 | 1, services: 0 | 1, peers: 0 | 1): Rights => ({
  internet: internet === 1,
  services: services === 1,
  peers: peers === 1,
});
const site = (number: number) => ({ v4: `10.5.${number}`, v6: `fd05:${number}::` });

/** A site has what the peer that carries it has not, so that one cannot be taken for the other. */
const PEERS: readonly Peer[] = [
  { name: 'p000', number: 2, rights: rights(0, 0, 0), site: site(2), siteRights: rights(1, 1, 0) },
  { name: 'p001', number: 3, rights: rights(0, 0, 1) },
  { name: 'p010', number: 4, rights: rights(0, 1, 0), site: site(4), siteRights: rights(1, 0, 0) },
  { name: 'p011', number: 5, rights: rights(0, 1, 1) },
  { name: 'p100', number: 6, rights: rights(1, 0, 0), site: site(6), siteRights: rights(0, 1, 0) },
  { name: 'p101', number: 7, rights: rights(1, 0, 1) },
  { name: 'p110', number: 8, rights: rights(1, 1, 0) },
  { name: 'p111', number: 9, rights: rights(1, 1, 1), site: site(9), siteRights: rights(0, 0, 0) },
  { name: 'without', number: 10, rights: null },
];
const SITES = PEERS.filter(({ siteRights }) => siteRights !== undefined);
/** Of these the node and its networks may open flows to what lies behind them. */
const OPEN_SITES = ['p010', 'p100'];

/** Where everybody knocks, and the right that opens it; null: nothing does. */
type Destination = {
  readonly to: Place;
  readonly traffic: readonly TrafficName[];
  readonly needs: keyof Rights | null;
};

function destinationsOf(name: string): readonly Destination[] {
  const i = PEERS.findIndex((peer) => peer.name === name);
  const next = PEERS[(i + 1) % PEERS.length] as Peer;
  const siteOfAnother = SITES.find((one) => one.name !== name) as Peer;
  return [
    { to: PLACES.service, traffic: TRAFFIC, needs: 'services' },
    { to: PLACES.service, traffic: ['tcp/444', 'udp/444'], needs: null },
    { to: PLACES.otherService, traffic: TRAFFIC, needs: null },
    { to: PLACES.box, traffic: TRAFFIC, needs: null },
    { to: placeOf(next), traffic: TRAFFIC, needs: 'peers' },
    { to: siteOf(siteOfAnother), traffic: TRAFFIC, needs: null },
    { to: PLACES.outside, traffic: TRAFFIC, needs: 'internet' },
    { to: PLACES.hub, traffic: TRAFFIC, needs: null },
    { to: PLACES.hubOnBridge, traffic: TRAFFIC, needs: null },
    { to: PLACES.hubInWorld, traffic: TRAFFIC, needs: null },
  ];
}

function casesOf(from: Place, owned: Rights | null, name: string): Case[] {
  return destinationsOf(name).flatMap(({ to, traffic, needs }) =>
    each(from, to, traffic, needs !== null && owned?.[needs] === true),
  );
}

function each(from: Place, to: Place, traffic: readonly TrafficName[], isWanted: boolean): Case[] {
  return traffic.flatMap((one) => VERSIONS.map((version) => ({ from, to, traffic: one, version, isWanted })));
}

function matrix(): Case[] {
  const outside = [PLACES.outside, PLACES.box];
  const { hub } = PLACES;
  return [
    ...PEERS.flatMap((peer) => casesOf(placeOf(peer), peer.rights, peer.name)),
    ...SITES.flatMap((peer) => casesOf(siteOf(peer), peer.siteRights ?? null, peer.name)),
    // To peers this node opens what it likes, and nobody else anything; to sites what `outbound` says.
    ...PEERS.flatMap((peer) => each(hub, placeOf(peer), TRAFFIC, true)),
    ...outside.flatMap((from) => PEERS.flatMap((peer) => each(from, placeOf(peer), TRAFFIC, false))),
    ...[hub, ...outside].flatMap((from) =>
      SITES.flatMap((peer) => each(from, siteOf(peer), TRAFFIC, OPEN_SITES.includes(peer.name))),
    ),
  ];
}

const profileOf = ({ internet, services, peers }: Rights) => ({
  internet,
  services: services ? ['files'] : [],
  peers: peers ? 'all' : 'none',
});

function rules(): Rules {
  const profiled = PEERS.filter((peer) => peer.rights !== null);
  const named = <T>(of: (peer: Peer) => T): Record<string, T> =>
    Object.fromEntries(profiled.map((peer) => [peer.name, of(peer)]));
  const service = ({ net, number }: Place) => ({
    addr: VERSIONS.map((version) => at(net, number, version)),
    ports: [`tcp/${PORT}`, `udp/${PORT}`, 'icmp/echo-request'],
  });
  const sites = SITES.map(({ name, site: net, siteRights }) => [
    name,
    {
      subnets: net === undefined ? [] : networks(net),
      inbound: siteRights?.services === true ? ['files'] : [],
      exit_relay: { provide: siteRights?.internet === true },
      outbound: OPEN_SITES.includes(name) ? 'any' : 'none',
    },
  ]);
  return {
    peers: named(({ name }) => ({ profile: name })),
    firewall: {
      services: { files: service(PLACES.service), mail: service(PLACES.otherService) },
      profiles: named(({ rights: owned }) => profileOf(owned ?? rights(0, 0, 0))),
      sites: Object.fromEntries(sites),
    },
  };
}

let hub: PolicyHub;
beforeAll(async () => {
  hub = await PolicyHub.start('mx', PEERS);
});
afterAll(() => hub[Symbol.asyncDispose]());

test('what each of eight profiles, nobody and four sites reach is what the table says', async () => {
  const cases = matrix();
  expect(cases.length).toBe(988);
  const evaluator = await hub.reload(rules());
  const differing = cases.filter((one) => isAllowed(evaluator, one) !== one.isWanted);
  expect(differing.map(nameOf)).toEqual([]);
  expect(await hub.wrong(cases)).toEqual([]);
  // What did not pass was denied, and was not lost on its way.
  const denied = await hub.denied();
  for (const { name } of PEERS) {
    const refused = cases.filter(({ from, to, isWanted }) => !isWanted && (from.peer ?? to.peer) === name);
    expect(denied.get(name), name).toBeGreaterThanOrEqual(refused.length);
  }
});
