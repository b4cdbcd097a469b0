// Who may send from this host: by user and by cgroup, and whoever may not is refused at once, on earlier connections too. Each
// step is taken by all backends at the same time, on a host of its own.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { build, type Topology } from '../../src/bench/topology.ts';
import type { HostBackend } from '../../src/policy/host.ts';
import { cgroupObstacle, insideCgroup, TestCgroup } from '../support/cgroups.ts';
import { until } from '../support/deadline.ts';
import { HostRules, ruleset } from '../support/overlay-host.ts';
import { asUser, Prober } from '../support/prober.ts';
import type { Host } from '../support/topology.ts';

const NOBODY = 65_534;
const PORT = 2822;
const LOOPBACKS = ['127.0.0.1', '::1'] as const;
const TO = [`127.0.0.1:${PORT}`, `[::1]:${PORT}`];
const PROTOCOLS = ['tcp', 'udp'] as const;

/** What is dropped is answered by silence instead. */
const REFUSED = { error: expect.stringMatching(/^(ECONNREFUSED|EPERM)$/) };

/** Flows are tracked from their begin, as on hosts with rules of others; a connection from before is an established one. */
const TRACKING = `table inet admin {
  chain output { type filter hook output priority filter; policy accept; ct state established accept; }
}
`;

/** A host on which root serves a port, and others ask for it. */
class ServingHost implements AsyncDisposable {
  readonly host: Host;
  readonly rules: HostRules;
  readonly root: Prober;
  readonly nobody: Prober;

  private constructor(host: Host, rules: HostRules) {
    this.host = host;
    this.rules = rules;
    this.root = Prober.start(host);
    this.nobody = Prober.start(host, NOBODY);
  }

  static async start(topology: Topology, backend: HostBackend): Promise<ServingHost> {
    const host = await topology.host(backend);
    await host.exec('nft', ['-f', '-'], { input: TRACKING });
    const serving = new ServingHost(host, await HostRules.create(host, backend));
    for (const address of LOOPBACKS) {
      for (const protocol of PROTOCOLS) await serving.root.listen(protocol, address, PORT);
    }
    return serving;
  }

  /** A process in a cgroup. */
  member(path: string, user = NOBODY): Prober {
    return Prober.start(this.host, user, insideCgroup(path));
  }

  async refusals(): Promise<number> {
    return Number((await this.rules.status()).counters['rf_process']);
  }

  async isMissing(cgroup: TestCgroup): Promise<boolean> {
    return (await this.rules.status()).notEnforced.join().includes(cgroup.path);
  }

  async kill(): Promise<void> {
    this.rules.process.signal('SIGKILL');
    await this.rules.process.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.rules[Symbol.asyncDispose]();
  }
}

async function passes(prober: Prober): Promise<void> {
  for (const address of LOOPBACKS) {
    for (const protocol of PROTOCOLS) {
      expect(await prober.knock(protocol, address, PORT)).toMatchObject({ by: prober.host.name });
    }
  }
}

async function isRefused(prober: Prober): Promise<void> {
  for (const address of LOOPBACKS) {
    for (const protocol of PROTOCOLS) {
      expect(await prober.knock(protocol, address, PORT)).toEqual(REFUSED);
    }
  }
}

export function processCases(...backends: readonly HostBackend[]): void {
  describe(`who may send, by ${backends.join(' and ')}`, () => {
    let net: AsyncDisposable & { readonly hosts: ReadonlyMap<HostBackend, ServingHost> };

    beforeAll(async () => {
      net = await build(async (topology) => {
        const hosts = backends.map(async (one) => [one, await ServingHost.start(topology, one)] as const);
        return { hosts: new Map(await Promise.all(hosts)) };
      });
    });

    afterAll(async () => {
      for (const serving of net.hosts.values()) await serving[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
    });

    /** The next step, once all backends have taken the one before. */
    function step(name: string, take: (serving: ServingHost) => Promise<void>): void {
      describe(name, () => {
        test.concurrent.each(backends)('by %s', async (backend) => {
          const serving = net.hosts.get(backend);
          if (serving !== undefined) await take(serving);
        });
      });
    }

    step(
      'these users only, also from a user namespace; a connection from before dies',
      async ({ host, rules, root, nobody }) => {
        const disguise = [...asUser(NOBODY), 'unshare', '--user', '--map-root-user'];
        const disguised = Prober.start(host, undefined, disguise);
        const earlier = LOOPBACKS.map((address) => nobody.hold(address, PORT));
        for (const flow of earlier) expect(await flow.echo('before')).toBe('before');
        await passes(disguised);
        await rules.start({ process: [{ only: { uid: [0] }, to: TO }] });
        await passes(root);
        await isRefused(nobody);
        // Root of a user namespace is who made it.
        await isRefused(disguised);
        for (const flow of earlier) expect(await flow.echo('after')).toMatch(/^error: .*(ECONNRESET|EPIPE)/);
      },
    );

    step(
      'the last packets of those who may, which no socket sends any more, are not refused',
      async (serving) => {
        const before = await serving.refusals();
        expect(before).toBeGreaterThan(0);
        for (let times = 0; times < 10; times++) await passes(serving.root);
        expect(await serving.refusals()).toBe(before);
      },
    );

    if (cgroupObstacle === false) {
      step('these cgroups only, and nobody while there is none', async (serving) => {
        await using cgroup = new TestCgroup();
        const { rules, root, nobody } = serving;
        const only = (who: object) => ({ process: [{ only: who, to: TO }] });
        const section = only({ cgroup: [cgroup.path] });
        await rules.update(section);
        expect(await serving.isMissing(cgroup)).toBe(true);
        await isRefused(root);

        cgroup.make();
        await until(async () => !(await serving.isMissing(cgroup)), 10_000, 'the cgroup is found');
        const first = serving.member(cgroup.path, 0);
        await passes(first);
        await isRefused(root);
        await isRefused(nobody);
        // Both keys: who is one of the users, and in the cgroup.
        await rules.update(only({ uid: [0], cgroup: [cgroup.path] }));
        await passes(first);
        await isRefused(root);
        await rules.update(only({ uid: [NOBODY], cgroup: [cgroup.path] }));
        await isRefused(first);
        await isRefused(nobody);
        await first.stop();

        // Another one of the same path, made while nobody watches: what else is the same is adopted.
        await rules.stop();
        await rules.start(section);
        await serving.kill();
        await cgroup.remove();
        cgroup.make();
        rules.restart(serving.host);
        await rules.start(section);
        const second = serving.member(cgroup.below);
        await passes(second);
        await isRefused(root);
        await second.stop();

        // And while the rules are watched over; in between there is none.
        await cgroup.remove();
        await until(async () => await serving.isMissing(cgroup), 10_000, 'that it is gone is noticed');
        await isRefused(root);
        cgroup.make();
        await until(async () => !(await serving.isMissing(cgroup)), 10_000, 'the next one is found');
        const third = serving.member(cgroup.path);
        await passes(third);
        await isRefused(root);
        await third.stop();
        expect((await rules.status()).restored).toBe(0);
      });
    }

    step('nothing is left', async ({ host, rules }) => {
      await rules.stop();
      await host.exec('nft', ['delete', 'table', 'inet', 'admin']);
      expect(await ruleset(host)).toBe('');
    });
  });
}
