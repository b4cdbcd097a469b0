// The pages that a node serves over HTTP, where its file has a section `metrics`; a reload moves them.

import { renderListen } from '../config/listen.ts';
import type { MetricsConfig, NodeConfig } from '../config/schema.ts';
import { History } from '../control/history.ts';
import type { HttpServer } from '../control/http-server.ts';
import type { PolicyView } from '../control/status-page.ts';
import type { NodeStatus } from '../control/target.ts';
import { ConfigError, NodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { PreparedPart, ReloadPart } from './reload.ts';

/** Between two samples of the history. */
const SAMPLE_MS = 5_000;

export class ServedPages implements ReloadPart {
  readonly #status: () => Promise<NodeStatus>;
  readonly #policy: () => Promise<PolicyView | null>;
  readonly #log: Log;
  readonly #history = new History();
  #config: MetricsConfig | null = null;
  #server: HttpServer | null = null;
  #sampling: NodeJS.Timeout | undefined;

  constructor(status: () => Promise<NodeStatus>, policy: () => Promise<PolicyView | null>, log: Log) {
    this.#status = status;
    this.#policy = policy;
    this.#log = log;
  }

  /** @throws ConfigError `ERR_NODE_LISTEN`, with its place in the file, when the address cannot be had */
  async prepare(_: NodeConfig, to: NodeConfig): Promise<PreparedPart> {
    const former = { config: this.#config, server: this.#server };
    const isSamePlace = placeOf(to.metrics) === placeOf(former.config);
    const server = isSamePlace ? former.server : await this.#listen(to);
    const use = (used: typeof former): void => {
      this.#config = used.config;
      this.#server = used.server;
      this.#sampleWhileServed();
    };
    return {
      commit: async () => use({ config: to.metrics, server }),
      rollBack: async () => use(former),
      [Symbol.asyncDispose]: async () => {
        for (const one of new Set([former.server, server])) if (one !== this.#server) await one?.close();
      },
    };
  }

  async close(): Promise<void> {
    await this.#server?.close();
    this.#server = null;
    this.#sampleWhileServed();
  }

  /** The history that the page draws: only while somebody could look at it. */
  #sampleWhileServed(): void {
    if (this.#server === null) {
      clearTimeout(this.#sampling);
      this.#sampling = undefined;
    } else this.#sampling ??= setTimeout(() => void this.#sample(), 0).unref();
  }

  async #sample(): Promise<void> {
    const beganMs = performance.now();
    try {
      this.#history.take(await this.#status(), Date.now());
    } catch {
      // the node is on its way down
    }
    if (this.#sampling === undefined) return;
    // Thousands of peers take a while to count: never more than a twentieth of the time.
    const pauseMs = Math.max(SAMPLE_MS, (performance.now() - beganMs) * 20);
    this.#sampling = setTimeout(() => void this.#sample(), pauseMs).unref();
  }

  async #listen({ metrics, places }: NodeConfig): Promise<HttpServer | null> {
    if (metrics === null) return null;
    // Loaded only here: HTTP and prom-client take 25 MB.
    const { HttpServer } = await import('../control/http-server.ts');
    const { renderMetrics } = await import('../control/metrics.ts');
    const { renderStatusPage } = await import('../control/status-page.ts');
    const pages = {
      '/': async () => renderStatusPage(await this.#status(), this.#history, await this.#policy()),
      '/metrics': async () => renderMetrics(await this.#status()),
    };
    try {
      const server = await HttpServer.listen({
        listen: metrics.listen,
        hosts: () => this.#config?.hosts ?? [],
        pages,
      });
      this.#log.info(`metrics are served at ${renderListen(metrics.listen)}`);
      return server;
    } catch (error) {
      const place = places.get('metrics.listen');
      if (!(error instanceof NodeError) || place === undefined) throw error;
      throw new ConfigError([{ code: error.code, message: error.message, place, hint: error.hint }], error);
    }
  }
}

function placeOf(config: MetricsConfig | null): string | null {
  return config && renderListen(config.listen);
}
