// What becomes of one question of one asker: rules first, then the names of the overlay, then other servers. It knows no socket.
//
//   message ──parseQuery──▶ query ──profile's dns.deny──▶ whose name is it?
//                                     overlay: may the asker reach it?   ──▶ address, NODATA, NXDOMAIN, or REFUSED
//                                     a site:  may the asker reach it?   ──▶ its server ──▶ may the asker reach what it says?
//                                     else:    upstream servers, or REFUSED without any

import type { Answer } from 'dns-packet';
import { type IpAddress, parseIp, renderIp } from '../address/ip.ts';
import { contains } from '../address/prefix.ts';
import type { Policy } from '../policy/model.ts';
import type { NamePolicy, NameServer } from '../policy/names.ts';
import { Access, type Asker } from './access.ts';
import type { Forwarder } from './forwarder.ts';
import {
  adaptAnswer,
  addressesIn,
  encodeAnswer,
  encodeBadVersion,
  fitting,
  type OwnAnswer,
  parseQuery,
  type Query,
  RCODE,
} from './wire.ts';
import { type OverlayName, type Place, Zone } from './zone.ts';

/** Short: what a name leads to, and who may know it, changes with the policy. */
export const TTL_SECONDS = 30;
const DNS_PORT = 53;
/** Questions for all that a server has, or for its database: nobody needs them here. */
const REFUSED_TYPES: readonly string[] = ['AXFR', 'IXFR', 'TSIG', 'TKEY'];

/**
 * How a question ended: `own`: answered from the policy, that there is no such name too; `forwarded` by another server;
 * `kept`: the same, from before; `refused` by the policy; `failed`: no other server answered; `overload`: too many questions
 * waited; `malformed`; `stranger`: from no peer, and not answered.
 */
export const OUTCOMES = [
  'own',
  'forwarded',
  'kept',
  'refused',
  'failed',
  'overload',
  'malformed',
  'stranger',
] as const;
export type Outcome = (typeof OUTCOMES)[number];

export interface Reply {
  /** null: nothing is sent. */
  readonly message: Buffer | null;
  readonly outcome: Outcome;
}

export class Resolver {
  readonly #names: NamePolicy;
  readonly #access: Access;
  readonly #zone: Zone;
  readonly #forwarder: Forwarder;

  /** @param hostAddresses what this host has beside its overlay addresses */
  constructor(policy: Policy, names: NamePolicy, hostAddresses: readonly IpAddress[], forwarder: Forwarder) {
    this.#names = names;
    this.#access = new Access(policy, names, hostAddresses);
    this.#zone = new Zone(policy, names);
    this.#forwarder = forwarder;
  }

  /** Who asks from this address, or null for a stranger. */
  askerAt(source: IpAddress): Asker | null {
    return this.#access.askerAt(source);
  }

  async answer(asker: Asker, message: Buffer, transport: 'udp' | 'tcp'): Promise<Reply> {
    const parsed = parseQuery(message);
    if (!parsed.ok) return { message: parsed.reply, outcome: 'malformed' };
    const { query } = parsed;
    if (query.edns !== null && query.edns.version > 0) {
      return { message: encodeBadVersion(query), outcome: 'malformed' };
    }
    const reply = await this.#decide(asker, query);
    return { ...reply, message: reply.message && fitting(query, reply.message, transport) };
  }

  async #decide(asker: Asker, query: Query): Promise<Reply> {
    if (!query.isInternetClass || REFUSED_TYPES.includes(query.type)) return refusal(query);
    if (this.#access.isDenied(asker, query.key)) return refusal(query);
    const place = this.#zone.find(query.key);
    switch (place.kind) {
      case 'site':
        return await this.#askSite(asker, query, place);
      case 'elsewhere':
        return await this.#forward(asker, query, this.#names.upstream);
      default:
        return this.#ownAnswer(asker, query, place);
    }
  }

  #ownAnswer(asker: Asker, query: Query, place: Exclude<Place, { kind: 'site' | 'elsewhere' }>): Reply {
    const authorities = [soaOf(place.zone, this.#zone.ownName)];
    const own = (answer: OwnAnswer): Reply => ({
      message: encodeAnswer(query, { ...answer, isAuthoritative: true }),
      outcome: 'own',
    });
    const answering = (answers: readonly Answer[]): Reply =>
      own({ rcode: RCODE.noError, ...(answers.length > 0 ? { answers } : { authorities }) });
    switch (place.kind) {
      case 'name':
        if (!this.#mayLearn(asker, place.found)) return refusal(query);
        return answering(addressRecords(query, place.found));
      case 'address': {
        const names = place.names.filter((named) => this.#mayLearn(asker, named));
        if (place.names.length === 0) return own({ rcode: RCODE.nxDomain, authorities });
        if (names.length === 0) return refusal(query);
        return answering(query.type === 'PTR' ? names.map(({ name }) => pointer(query, name)) : []);
      }
      case 'apex':
        return answering(query.type === 'SOA' ? authorities : []);
      case 'empty':
        return answering([]);
      case 'missing':
        return own({ rcode: RCODE.nxDomain, authorities });
      default:
        return place satisfies never;
    }
  }

  /** Who may ask may know who answers; of others, what it may reach. */
  #mayLearn(asker: Asker, named: OverlayName): boolean {
    return named.name === this.#zone.ownName || this.#access.mayLearn(asker, named);
  }

  /** Its server knows nothing of our policy: what it answers is judged as well. */
  async #askSite(asker: Asker, query: Query, { site, address }: Place & { kind: 'site' }): Promise<Reply> {
    const mayAsk =
      address === null
        ? this.#access.mayReachSome(asker, site.subnets)
        : this.#access.mayReach(asker, address);
    if (!mayAsk) return refusal(query);
    const reply = await this.#forward(asker, query, [{ address: site.server, port: DNS_PORT }]);
    const addresses = reply.message === null ? [] : addressesIn(reply.message);
    if (addresses === null) {
      return { message: encodeAnswer(query, { rcode: RCODE.servFail }), outcome: 'failed' };
    }
    const isShutOff = (text: string): boolean => {
      const found = parseIp(text);
      if (!found.ok || !site.subnets.some((subnet) => contains(subnet, found.value))) return false;
      return !this.#access.mayReach(asker, found.value);
    };
    return addresses.some(isShutOff) ? refusal(query) : reply;
  }

  async #forward(asker: Asker, query: Query, servers: readonly NameServer[]): Promise<Reply> {
    if (servers.length === 0) return refusal(query);
    const name = asker.kind === 'self' ? '' : asker.peer.name;
    const forwarded = await this.#forwarder.ask(query, servers, name);
    if (!forwarded.ok) {
      const outcome = forwarded.reason === 'overload' ? 'overload' : 'failed';
      return { message: encodeAnswer(query, { rcode: RCODE.servFail }), outcome };
    }
    const message = adaptAnswer(query, forwarded.message, forwarded.ageSeconds);
    return { message, outcome: forwarded.isKept ? 'kept' : 'forwarded' };
  }
}

function refusal(query: Query): Reply {
  return { message: encodeAnswer(query, { rcode: RCODE.refused }), outcome: 'refused' };
}

function addressRecords(query: Query, { addresses }: OverlayName): Answer[] {
  return addresses.flatMap((address): Answer[] => {
    const type = address.version === 4 ? 'A' : 'AAAA';
    if (query.type !== type && query.type !== 'ANY') return [];
    return [{ name: query.name, type, ttl: TTL_SECONDS, data: renderIp(address) }];
  });
}

function pointer(query: Query, name: string): Answer {
  return { name: query.name, type: 'PTR', ttl: TTL_SECONDS, data: name };
}

/** What says how long a name may be taken for missing (RFC 2308 §3). The numbers for secondaries mean nothing: there are none. */
export function soaOf(zone: string, server: string): Answer {
  const data = {
    mname: server,
    rname: `hostmaster.${zone}`,
    serial: 1,
    refresh: 3600,
    retry: 600,
    expire: 86_400,
    minimum: TTL_SECONDS,
  };
  return { name: zone, type: 'SOA', ttl: TTL_SECONDS, data };
}
