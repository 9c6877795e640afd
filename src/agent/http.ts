/** /metrics, /healthz and /readyz. Whoever reaches the port may ask; nothing is changed through it. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { UnderspanError } from '../errors.js';
import type { Address } from './config/config.js';
import type { Log } from './log.js';
import type { AgentMetrics } from './metrics.js';
import type { RuleSnapshot } from './snapshot.js';

export interface Health {
  ok: boolean;
  problem: string | null;
}

export interface AgentHttpOptions {
  listen: Address;
  metrics: Pick<AgentMetrics, 'render'>;
  /** That the event loop turns is told by the answer itself. */
  health: () => Health;
  rules: () => readonly RuleSnapshot[];
  log: Log;
}

interface Answer {
  status: number;
  contentType: string;
  body: Buffer;
}

/** Against clients that are slow, or many, or that send without end. */
const LIMITS = {
  connections: 64,
  headerBytes: 8 * 1024,
  headersMs: 5_000,
  requestMs: 10_000,
  /** Without a byte in either direction. */
  idleMs: 10_000,
  keepAliveMs: 5_000,
  checkEveryMs: 1_000,
};

/** How long answers under way have when the server is closed. */
const CLOSE_MS = 500;

export class AgentHttp {
  /** Scrapes that come meanwhile get the same answer. */
  private rendering: Promise<Answer> | null = null;

  private constructor(
    private readonly server: Server,
    private readonly options: AgentHttpOptions,
  ) {
    server.on('request', (request, response) => void this.handle(request, response));
    server.on('error', (error) => options.log.error({ err: error }, 'the HTTP server failed'));
  }

  static async start(options: AgentHttpOptions): Promise<AgentHttp> {
    const server = createServer({
      maxHeaderSize: LIMITS.headerBytes,
      headersTimeout: LIMITS.headersMs,
      requestTimeout: LIMITS.requestMs,
      keepAliveTimeout: LIMITS.keepAliveMs,
      connectionsCheckingInterval: LIMITS.checkEveryMs,
    });
    server.maxConnections = LIMITS.connections;
    server.setTimeout(LIMITS.idleMs);
    const { host, port } = options.listen;
    server.listen({ host, port });
    try {
      await once(server, 'listening');
    } catch (error) {
      throw cannotListen(options.listen, error as NodeJS.ErrnoException);
    }
    return new AgentHttp(server, options);
  }

  get address(): Address {
    const { address, port } = this.server.address() as AddressInfo;
    return { host: address, port };
  }

  async close(): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    const timer = setTimeout(() => this.server.closeAllConnections(), CLOSE_MS);
    await closed;
    clearTimeout(timer);
  }

  /** Never rejects: what is thrown here would end the agent. */
  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const head = request.method === 'HEAD';
    const answer = await this.answer(request).catch((error: unknown) => {
      this.options.log.error({ err: error, url: request.url }, 'a request could not be answered');
      return text(500, 'internal error; the log says more\n');
    });
    response.writeHead(answer.status, {
      'content-type': answer.contentType,
      'content-length': answer.body.length,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...(answer.status === 405 ? { allow: 'GET, HEAD' } : {}),
      // A body that nobody asked for is not read to its end.
      ...(request.complete ? {} : { connection: 'close' }),
    });
    response.end(head ? undefined : answer.body);
  }

  private async answer({ url = '', method }: IncomingMessage): Promise<Answer> {
    const route = this.route(url.replace(/[?#].*$/s, ''));
    if (!route) return text(404, 'there are /metrics, /healthz and /readyz\n');
    if (method !== 'GET' && method !== 'HEAD') return text(405, 'only GET and HEAD\n');
    return route();
  }

  private route(path: string): (() => Answer | Promise<Answer>) | null {
    switch (path) {
      case '/metrics':
        return () => this.metrics();
      case '/healthz':
        return () => this.health();
      case '/readyz':
        return () => this.ready();
      default:
        return null;
    }
  }

  private metrics(): Promise<Answer> {
    this.rendering ??= this.render().finally(() => (this.rendering = null));
    return this.rendering;
  }

  private async render(): Promise<Answer> {
    const { contentType, body } = await this.options.metrics.render();
    return { status: 200, contentType, body: Buffer.from(body) };
  }

  private health(): Answer {
    const { ok, problem } = this.options.health();
    return json(ok ? 200 : 503, { ok, problem });
  }

  private ready(): Answer {
    const rules = this.options
      .rules()
      .map(({ name, state, problem }) => ({ name, state, problem }));
    const ready = rules.every(({ state }) => state === 'ready');
    return json(ready ? 200 : 503, { ready, rules });
  }
}

function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body: Buffer.from(body) };
}

function json(status: number, body: object): Answer {
  const text = `${JSON.stringify(body)}\n`;
  return { status, contentType: 'application/json', body: Buffer.from(text) };
}

function cannotListen({ host, port }: Address, error: NodeJS.ErrnoException): UnderspanError {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const [why, hint] = REASONS[error.code ?? ''] ?? [error.message, 'set another metrics.listen'];
  const message = `cannot serve metrics at ${where}: ${why}`;
  return new UnderspanError('failed', 'metrics-listen', message, hint, { cause: error });
}

const REASONS: Record<string, [string, string]> = {
  EADDRINUSE: [
    'the port is in use',
    'stop what listens there (ss -ltnp shows it), or set another port in metrics.listen',
  ],
  EADDRNOTAVAIL: [
    'this host has no such address',
    'set metrics.listen to an address of this host, or to 0.0.0.0 for all of them',
  ],
  ENOTFOUND: ['there is no such host', 'set metrics.listen to an address of this host'],
  EACCES: [
    'not permitted',
    'take a port above 1023 in metrics.listen, or grant CAP_NET_BIND_SERVICE',
  ],
};
