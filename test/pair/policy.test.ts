// Who may reach what, by packets: a hub with a policy, three peers, a site behind one of them and behind another, a private
// network on a bridge and the internet behind the hub. Every pair is tried with TCP, UDP and ICMP, in IPv4 and IPv6, on a port
// that is granted and on one beside it, and what passes is what the evaluator says passes. All eight kinds of profile:
// test/slow/policy.test.ts.

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Evaluator } from '../../src/policy/evaluate.ts';
import { captureObstacle } from '../support/capture.ts';
import { cameThrough, type LiveFlow, openFlows } from '../support/live-flows.ts';
import {
  at,
  BRIDGE,
  type Case,
  isAllowed,
  type Net,
  networks,
  OTHER_PORT,
  OVERLAY_NET,
  PLACES,
  type Place,
  PORT,
  PolicyHub,
  placeOf,
  type Rules,
  SITE_HOST,
  siteOf,
  TRAFFIC,
  type TrafficName,
  type Try,
  VERSIONS,
  type Version,
} from '../support/policy-hub.ts';

const SITE: Net = { v4: '10.5.0', v6: 'fd05::' };
const YARD: Net = { v4: '10.6.0', v6: 'fd06::' };
const ALICE = { name: 'alice', number: 2 };
const BOB = { name: 'bob', number: 3, site: YARD };
const CAROL = { name: 'carol', number: 4, site: SITE };
const SPOKES = [ALICE, BOB, CAROL];

/** Who knocks and is knocked at. */
const KNOCKING: readonly Place[] = [
  PLACES.hub,
  ...SPOKES.map(placeOf),
  siteOf(CAROL),
  siteOf(BOB),
  PLACES.service,
  PLACES.otherService,
  PLACES.outside,
];
const KNOCKS: readonly TrafficName[] = [...TRAFFIC, `tcp/${OTHER_PORT}`, `udp/${OTHER_PORT}`];

let hub: PolicyHub;
beforeAll(async () => {
  hub = await PolicyHub.start('pol', SPOKES);
}, 60_000);
afterAll(() => hub[Symbol.asyncDispose]());

/** From each to each, unless no tunnel is on the way. */
function tries(): Try[] {
  return KNOCKING.flatMap((from) =>
    KNOCKING.filter((to) => to.host !== from.host && (from.peer !== null || to.peer !== null)).flatMap((to) =>
      KNOCKS.flatMap((traffic) => VERSIONS.map((version) => ({ from, to, traffic, version }))),
    ),
  );
}

/** Tries everything: how much passed, and what passed that should not, or did not that should. */
async function differences(
  evaluator: Evaluator,
): Promise<{ readonly passed: number; readonly wrong: string[] }> {
  const wanted = tries().map((one) => ({ ...one, isWanted: isAllowed(evaluator, one) }));
  const wrong = await hub.wrong(wanted);
  return { passed: wanted.filter(({ isWanted }) => isWanted).length, wrong };
}

const services = {
  files: {
    addr: VERSIONS.map((version) => at(BRIDGE, PLACES.service.number, version)),
    ports: [`tcp/${PORT}`, 'icmp/echo-request'],
  },
  names: { addr: VERSIONS.map((version) => at(OVERLAY_NET, 1, version)), ports: [`udp/${PORT}`] },
};

test('profiles, services, peers and the internet; a peer without a profile has nothing; sites have their own', async () => {
  const evaluator = await hub.reload({
    peers: { alice: { profile: 'full' }, bob: { profile: 'guest' } },
    firewall: {
      services,
      profiles: {
        full: { internet: true, services: ['files', 'names'], peers: 'none' },
        guest: { services: ['names'], peers: 'all', deny: [{ to: 'carol', ports: [`tcp/${OTHER_PORT}`] }] },
      },
      sites: {
        carol: {
          subnets: networks(SITE),
          inbound: ['files'],
          outbound: 'any',
          exit_relay: { provide: true },
        },
        bob: { subnets: networks(YARD), inbound: ['names'], outbound: 'none' },
      },
    },
  });
  const { passed, wrong } = await differences(evaluator);
  expect(wrong).toEqual([]);
  expect(passed).toBeGreaterThan(50);
});

test('strict networks divide peers, members reach each other and this node, and the site lost its internet', async () => {
  const evaluator = await hub.reload({
    peers: {
      alice: { allow: [{ to: 'internet' }, { to: 'carol' }] },
      carol: { allow: [{ to: 'any' }], reachable_from: [{ from: 'any', ports: [`tcp/${PORT}`] }] },
    },
    firewall: {
      services,
      networks: { n1: { isolation: 'strict', members: ['alice', 'bob'] }, n2: { members: ['carol'] } },
      sites: {
        carol: { subnets: networks(SITE), inbound: ['files'], outbound: 'none' },
        bob: {
          subnets: networks(YARD),
          inbound: [],
          outbound: [{ to: networks(YARD)[0], ports: [`udp/${PORT}`] }],
        },
      },
    },
  });
  const { passed, wrong } = await differences(evaluator);
  expect(wrong).toEqual([]);
  expect(passed).toBeGreaterThan(30);
});

/** The site behind carol: one service, our side reaches it or not, and the internet or not. */
function relay(isOn: boolean): Rules {
  const site = {
    subnets: networks(SITE),
    inbound: ['files'],
    outbound: isOn ? 'any' : 'none',
    exit_relay: { provide: isOn },
  };
  // So that the host goes on translating what is open: it is the policy that has to end it.
  const nat = { masquerade: [{ from: 'overlay', out: 'non-overlay' }] };
  return { peers: {}, firewall: { services, sites: { carol: site }, nat } };
}

/** What the site reaches and what reaches it, with the relay on or off: the whole of it, by hand. */
function ofTheSite(isOn: boolean): Case[] {
  const remote = siteOf(CAROL);
  const table: readonly [from: Place, to: Place, passes: readonly TrafficName[]][] = [
    [remote, PLACES.service, [`tcp/${PORT}`, 'icmp']],
    [remote, PLACES.otherService, []],
    [remote, PLACES.box, []],
    [remote, PLACES.hub, []],
    [remote, PLACES.hubOnBridge, []],
    [remote, PLACES.hubInWorld, []],
    [remote, placeOf(ALICE), []],
    [remote, siteOf(BOB), []],
    [remote, PLACES.outside, isOn ? KNOCKS : []],
    [PLACES.hub, remote, isOn ? KNOCKS : []],
    [PLACES.box, remote, isOn ? KNOCKS : []],
    [placeOf(ALICE), remote, []],
  ];
  return table.flatMap(([from, to, passes]) =>
    KNOCKS.flatMap((traffic) =>
      VERSIONS.map((version) => ({ from, to, traffic, version, isWanted: passes.includes(traffic) })),
    ),
  );
}

const LIVE_PORT = 5_400;

/** Of the site to the internet, and of a host on our bridge to the site. */
function openBySite(): LiveFlow[] {
  const pairs = [
    [siteOf(CAROL), PLACES.outside],
    [PLACES.box, siteOf(CAROL)],
  ] as const;
  const end = ({ host, net, number }: Place, version: Version) => ({
    host: hub.host(host),
    address: at(net, number, version),
  });
  return pairs.flatMap(([from, to]) =>
    VERSIONS.flatMap((version) =>
      (['tcp', 'udp'] as const).map((protocol) => ({
        protocol,
        from: end(from, version),
        to: end(to, version),
      })),
    ),
  );
}

test.skipIf(captureObstacle)(
  'a site reaches its services and by the relay the internet, nothing private; with the relay open flows end, both ways',
  async () => {
    await hub.reload(relay(true));
    expect(await hub.wrong(ofTheSite(true))).toEqual([]);
    const flows = openBySite();
    await using _open = await openFlows(LIVE_PORT, flows);
    await hub.reload(relay(false));
    // Behind a ping nothing is on its way any more.
    const carol = { from: PLACES.hub, to: placeOf(CAROL), traffic: 'icmp', version: 4 } as const;
    expect(await hub.passes(carol, true)).toBe(true);
    const far = VERSIONS.map((version) => at(SITE, SITE_HOST, version));
    const near = [PLACES.outside, PLACES.box].flatMap(({ net, number }) =>
      VERSIONS.map((version) => at(net, number, version)),
    );
    const came = await cameThrough(LIVE_PORT, flows, [
      { host: hub.host('hub'), device: hub.deviceOf('hub'), near },
      { host: hub.host('carol'), device: hub.deviceOf('carol'), near: far },
    ]);
    expect(came).toEqual([]);
    expect(await hub.wrong(ofTheSite(false))).toEqual([]);
  },
);
