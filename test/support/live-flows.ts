// Flows on which both ends send without end, and a look at whether any of it still comes through a tunnel: what a revocation
// has to end. The program at the ends is talk.ts.

import { fileURLToPath } from 'node:url';
import { Capture } from './capture.ts';
import { until } from './deadline.ts';
import type { Host } from './topology.ts';
import { NODE } from './traffic.ts';

const TALK = fileURLToPath(new URL('./talk.ts', import.meta.url));
const DEADLINE_MS = 20_000;

export type Served = { readonly protocol: 'tcp' | 'udp'; readonly address: string };
export type Call = Served & {
  readonly name: string;
  readonly source: string;
  /** Says nothing after the first datagram: the other end pushes. */
  readonly isMute: boolean;
};

export type FlowEnd = { readonly host: Host; readonly address: string };
export type LiveFlow = {
  readonly protocol: 'tcp' | 'udp';
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  readonly isPushed?: boolean;
};

/** Opens the flows to this port; resolves when both ends of each hear the other. They go on until disposed of. */
export async function openFlows(port: number, flows: readonly LiveFlow[]): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  const spawned = async (host: Host, serve: readonly Served[], call: readonly Call[]) => {
    const talking = undo.use(host.spawn(NODE, [TALK, JSON.stringify({ port, serve, call })]));
    await talking.line(/^bound$/, DEADLINE_MS);
    return talking;
  };
  const servers = new Map(flows.map(({ to: { host } }) => [host, host] as const));
  const listening = [...servers.keys()].map(async (host) => {
    const own = flows.filter(({ to }) => to.host === host);
    const process = await spawned(
      host,
      own.map(({ protocol, to }) => ({ protocol, address: to.address })),
      [],
    );
    const calling = own.filter(({ isPushed }) => isPushed !== true);
    return async () => {
      for (const { protocol, to } of calling) {
        await process.line(new RegExp(`^heard ${protocol} ${to.address}$`), DEADLINE_MS);
      }
    };
  });
  const heardByServers = await Promise.all(listening);
  const callers = [...new Set(flows.map(({ from }) => from.host))].map(async (host) => {
    const own = flows.filter(({ from }) => from.host === host).map(callOf);
    const process = await spawned(host, [], own);
    for (const { name } of own) await process.line(new RegExp(`^heard ${name}$`), DEADLINE_MS);
  });
  await Promise.all(callers);
  await Promise.all(heardByServers.map((heard) => heard()));
  return undo.move();
}

function callOf({ protocol, from, to, isPushed = false }: LiveFlow): Call {
  const name = `${protocol} ${from.address} ${to.address}`;
  return { name, protocol, source: from.address, address: to.address, isMute: isPushed };
}

/** An end of a tunnel, by its device, and the addresses whose packets go into it there. */
export type TunnelEnd = { readonly host: Host; readonly device: string; readonly near: readonly string[] };

/**
 * Watches both ends of a tunnel until either was given packets of every flow by its own side, and returns what has come out
 * of it. What was on its way must have arrived before.
 */
export async function cameThrough(
  port: number,
  flows: readonly LiveFlow[],
  ends: readonly [TunnelEnd, TunnelEnd],
): Promise<string[]> {
  const came = await Promise.all(
    ends.map(async ({ host, device, near }) => {
      await using capture = await Capture.start(host, device, { filter: `port ${port}`, snapBytes: 96 });
      const isNear = (line: string): boolean => near.includes(sourceOf(line));
      const expected = sendersOf(flows).filter((sender) => near.includes(sender.split(' ')[1] ?? ''));
      await until(
        () => {
          const seen = new Set(capture.packets.filter(isNear).map(senderOf));
          return expected.every((sender) => seen.has(sender));
        },
        DEADLINE_MS,
        `${device} is given ${expected.join(', ')}`,
      );
      return (await capture.stop()).filter((line) => !isNear(line));
    }),
  );
  return came.flat();
}

/** Who sends in these flows and to whom, such as `udp 10.9.0.1 10.9.0.2`. */
function sendersOf(flows: readonly LiveFlow[]): string[] {
  return flows.flatMap(({ protocol, from, to, isPushed }) => [
    `${protocol} ${to.address} ${from.address}`,
    ...(isPushed === true ? [] : [`${protocol} ${from.address} ${to.address}`]),
  ]);
}

const PACKET = /IP6? (\S+)\.\d+ > (\S+)\.\d+: (UDP|Flags)/;

function senderOf(line: string): string {
  const [, source, destination, kind] = PACKET.exec(line) ?? [];
  return `${kind === 'UDP' ? 'udp' : 'tcp'} ${source} ${destination}`;
}

function sourceOf(line: string): string {
  return PACKET.exec(line)?.[1] ?? '';
}
