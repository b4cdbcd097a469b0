// The endpoints of a wg-quick file as addresses. Names are asked for until they answer, or patience ends: at boot the
// network may be younger than this program.

import { setTimeout as delay } from 'node:timers/promises';
import { renderEndpoint } from '../../address/endpoint.ts';
import type { QuickConfig } from '../../config/wg-quick.ts';
import { ConfigError, messageOf } from '../../errors.ts';
import { lookupEndpoint, type ResolvedEndpoint } from '../endpoints.ts';

/** As wg(8): so many attempts by default, the first pause one second, each longer by a fifth. */
const DEFAULT_ATTEMPTS = 15;
const FIRST_PAUSE_MS = 1000;
const PAUSE_FACTOR = 1.2;

/** `WG_ENDPOINT_RESOLUTION_RETRIES`, as wg(8) reads it: a number, or `infinity`. */
export function resolutionAttempts(environment: NodeJS.ProcessEnv): number {
  const word = environment['WG_ENDPOINT_RESOLUTION_RETRIES'];
  if (word === 'infinity') return Number.POSITIVE_INFINITY;
  return word !== undefined && /^[0-9]{1,9}$/.test(word) ? Math.max(1, Number(word)) : DEFAULT_ATTEMPTS;
}

/**
 * One address for each peer that has an endpoint, at the index of the peer.
 * @throws ConfigError `ERR_CONFIG_ENDPOINT` at the peer whose name does not resolve
 */
export async function resolveEndpoints(
  config: QuickConfig,
  attempts: number,
  say: (line: string) => void,
): Promise<(ResolvedEndpoint | null)[]> {
  return await Promise.all(
    config.peers.map(async ({ endpoint, place }) => {
      if (endpoint === null) return null;
      for (let attempt = 1, pauseMs = FIRST_PAUSE_MS; ; attempt += 1, pauseMs *= PAUSE_FACTOR) {
        try {
          return await lookupEndpoint(endpoint);
        } catch (error) {
          const message = `${renderEndpoint(endpoint)} does not resolve: ${messageOf(error)}`;
          if (attempt >= attempts) {
            const hint =
              'check the name and the resolver of this host; WG_ENDPOINT_RESOLUTION_RETRIES=infinity keeps trying';
            throw new ConfigError([{ code: 'ERR_CONFIG_ENDPOINT', message, place, hint }], error);
          }
          say(`${message}; trying again in ${(pauseMs / 1000).toFixed(1)} s`);
          await delay(pauseMs);
        }
      }
    }),
  );
}
