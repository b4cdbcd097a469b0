// What a self-test asks the host: its interfaces, routes, neighbours and users. Changes nothing.

import { networkInterfaces } from 'node:os';
import { type IpAddress, parseIp, renderIp } from '../address/ip.ts';
import { networkOf, parseInterface } from '../address/prefix.ts';
import type { Commands } from './commands.ts';
import type { HostView, OwnAddress, Route } from './probe-clients.ts';

export async function viewHost(commands: Commands): Promise<HostView> {
  const routes = new Map<string, Promise<Route | null>>(); // many ask for the same
  return {
    interfaces: interfaces(),
    seen: await neighbours(commands),
    routeTo: async (address) => {
      const text = renderIp(address);
      const route = routes.get(text) ?? routeTo(commands, text);
      routes.set(text, route);
      return await route;
    },
    userOf: async (user) => await userOf(commands, user),
  };
}

function interfaces(): Map<string, OwnAddress[]> {
  const found = new Map<string, OwnAddress[]>();
  for (const [name, addresses = []] of Object.entries(networkInterfaces())) {
    const own = addresses.flatMap(({ internal, cidr }): OwnAddress[] => {
      if (internal || cidr === null) return [];
      const parsed = parseInterface(cidr);
      return parsed.ok ? [{ address: parsed.value.address, prefix: networkOf(parsed.value) }] : [];
    });
    if (own.length > 0) found.set(name, own);
  }
  return found;
}

type Fields = Readonly<Record<string, unknown>>;

/** The list that `ip -json` prints; empty where it prints something else. */
function entries(text: string): Fields[] {
  try {
    const parsed: unknown = JSON.parse(text);
    const isFields = (one: unknown): one is Fields => typeof one === 'object' && one !== null;
    return Array.isArray(parsed) ? parsed.filter(isFields) : [];
  } catch {
    return [];
  }
}

function addressIn(value: unknown): IpAddress | null {
  const parsed = typeof value === 'string' ? parseIp(value) : null;
  return parsed?.ok === true ? parsed.value : null;
}

/** Not those that did not answer, and not link-local ones, which have no routes. */
async function neighbours(commands: Commands): Promise<Map<string, IpAddress[]>> {
  const { stdout } = await commands.try('ip', ['-json', 'neighbour', 'show']);
  const seen = new Map<string, IpAddress[]>();
  for (const { dst, dev, state } of entries(stdout)) {
    const address = addressIn(dst);
    const isThere = Array.isArray(state) && !state.includes('FAILED') && !state.includes('INCOMPLETE');
    const isLinkLocal = typeof dst === 'string' && /^fe[89ab]/.test(dst);
    if (address === null || typeof dev !== 'string' || !isThere || isLinkLocal) continue;
    seen.set(dev, [...(seen.get(dev) ?? []), address]);
  }
  return seen;
}

async function routeTo(commands: Commands, address: string): Promise<Route | null> {
  const { ok, stdout } = await commands.try('ip', ['-json', 'route', 'get', address]);
  const [{ dev, prefsrc, type } = {}] = ok ? (entries(stdout) as Fields[]) : [];
  if (typeof dev !== 'string' || type === 'unreachable' || type === 'blackhole') return null;
  return { interface: dev, source: addressIn(prefsrc) };
}

async function userOf(commands: Commands, user: number | string): Promise<number | null> {
  if (typeof user === 'number') return user;
  const { ok, stdout } = await commands.try('id', ['-u', '--', user]);
  return ok && /^\d+$/.test(stdout) ? Number(stdout) : null;
}
