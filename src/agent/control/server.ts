/** The agent's control interface: HTTP on a socket of the node and, if configured, over TLS. */
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { startTrace } from '../../engine.js';
import { UnderspanError } from '../../errors.js';
import type { Native } from '../../native/native.js';
import { selectTargets } from '../../targets/select.js';
import type { ControlConfig } from '../config/config.js';
import { answer, answerError, readBody } from './answer.js';
import { Audit } from './audit.js';
import { type Caller, isSame, notLetIn } from './caller.js';
import type { KubernetesTokensOptions } from './kubernetes.js';
import type { ControlLog } from './log.js';
import { NetworkListener } from './network.js';
import { Sessions } from './sessions.js';
import { listenOnSocket } from './socket.js';
import { parseRequest } from './wishes.js';

const MAX_BODY_BYTES = 64 << 10;
/** For a request to arrive as a whole; answers may take as long as they do. */
const REQUEST_MS = 10_000;
/** How often it is looked whether certificates have been renewed. */
const RENEWAL_MS = 60_000;

export interface ControlServerOptions {
  config: ControlConfig;
  native: Native;
  log: ControlLog;
  version: string;
  /** Where tokens are checked; by default the cluster that this is a pod of. */
  kubernetes?: KubernetesTokensOptions;
  startTrace?: typeof startTrace;
  selectTargets?: typeof selectTargets;
}

type Identify = (request: IncomingMessage) => Promise<Caller>;

export class ControlServer {
  private readonly sessions: Sessions;
  private readonly audit: Audit;
  private readonly servers: Server[] = [];
  private network: NetworkListener | null = null;
  private renewal: NodeJS.Timeout | undefined;

  constructor(private readonly options: ControlServerOptions) {
    const { config, native, log } = options;
    this.audit = new Audit(config.auditLog, log);
    this.sessions = new Sessions({
      native,
      startTrace: options.startTrace ?? startTrace,
      selectTargets: options.selectTargets ?? selectTargets,
      maxDurationMs: config.maxDurationMs,
      maxSessions: config.maxSessions,
      audit: this.audit,
      log,
    });
  }

  /** Of the network listener; null: there is none. */
  get port(): number | null {
    return (this.network?.server.address() as AddressInfo | null)?.port ?? null;
  }

  /** Throws an UnderspanError, and listens nowhere, if it cannot listen as configured. */
  async start(): Promise<void> {
    try {
      await this.listen();
    } catch (error) {
      this.shut();
      throw error;
    }
  }

  /** Takes the certificates that are there now; it also looks for new ones by itself. */
  renewCertificates(): void {
    try {
      this.network?.renew();
    } catch (error) {
      this.options.log.error(
        { err: error },
        'the certificates of control.network were not renewed',
      );
    }
  }

  /** Ends all sessions; resolves within 2 s. */
  async close(reason: string): Promise<void> {
    for (const server of this.servers) server.close();
    await this.sessions.close(reason);
    this.shut();
  }

  private async listen(): Promise<void> {
    const { socket, network } = this.options.config;
    if (network !== null) {
      // Looked at before the socket is opened, so that a mistake in it leaves nothing behind.
      const identify: Identify = (request) => listener.caller(request);
      const listener = new NetworkListener(
        network,
        this.handler(identify),
        this.options.kubernetes,
      );
      this.network = listener;
      this.add(listener.server);
      await listener.listen();
      this.renewal = setInterval(() => this.renewCertificates(), RENEWAL_MS).unref();
      this.options.log.info({ ...network.listen, port: this.port }, 'control over the network');
    }
    if (socket !== null) {
      const server = createServer(this.handler((request) => this.local(request)));
      this.add(server);
      await listenOnSocket(server, socket);
      this.options.log.info({ socket }, 'control on the node');
    }
    for (const server of this.servers) {
      // A connection could not be accepted, for one; others will be.
      server.on('error', (error) => {
        this.options.log.error({ err: error }, 'the control interface had an error');
      });
    }
  }

  private add(server: Server): void {
    server.requestTimeout = REQUEST_MS;
    server.headersTimeout = REQUEST_MS;
    this.servers.push(server);
  }

  private shut(): void {
    clearInterval(this.renewal);
    for (const server of this.servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  }

  /** The mode of the socket keeps others out; the kernel says who it was. */
  private local({ socket }: IncomingMessage): Promise<Caller> {
    // Node has no other way to a socket's descriptor.
    const { fd } = (socket as unknown as { _handle: { fd: number } | null })._handle ?? { fd: -1 };
    const peer = this.options.native.peerCredentials(fd);
    if (peer === null || (peer.uid !== 0 && peer.uid !== process.geteuid?.())) {
      return Promise.reject(
        notLetIn(
          `the agent lets in root only${peer === null ? '' : `, not uid ${peer.uid}`}`,
          'run as root',
        ),
      );
    }
    return Promise.resolve({
      ...{ via: 'socket', who: `uid ${peer.uid}`, from: `pid ${peer.pid}` },
      require: () => Promise.resolve(),
    });
  }

  private handler(identify: Identify): RequestListener {
    return (request, response) => {
      // The other end went away while it was answered.
      response.on('error', () => undefined);
      this.handle(identify, request, response).catch((error: unknown) => {
        const about = { err: error, method: request.method, url: request.url };
        if (error instanceof UnderspanError) {
          this.options.log.warn(
            { ...about, from: request.socket.remoteAddress },
            'request refused',
          );
        } else if (!response.destroyed) this.options.log.error(about, 'request failed');
        answerError(response, error);
      });
    };
  }

  private async handle(
    identify: Identify,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const caller = await identify(request);
    const { method = '' } = request;
    const [path = ''] = (request.url ?? '').split('?');
    const id = /^\/v1\/sessions\/([^/]{1,100})$/.exec(path)?.[1];
    if (method === 'GET' && path === '/v1/version') {
      await caller.require('get');
      answer(response, 200, { version: this.options.version });
    } else if (method === 'GET' && path === '/v1/sessions') {
      await caller.require('get');
      answer(response, 200, { sessions: this.sessions.list() });
    } else if (method === 'POST' && path === '/v1/sessions') {
      await caller.require('create');
      requireJson(request);
      const wishes = parseRequest(await readBody(request, MAX_BODY_BYTES));
      await this.sessions.run(caller, wishes, response);
    } else if (method === 'DELETE' && id !== undefined) {
      await this.stop(caller, id);
      answer(response, 200, { id });
    } else {
      throw new UnderspanError(
        'not-found',
        'NO_SUCH_REQUEST',
        `the agent knows no ${method.slice(0, 20)} ${path.slice(0, 100)}`,
      );
    }
  }

  private async stop(caller: Caller, id: string): Promise<void> {
    const owner = this.sessions.whose(id);
    // Whoever may start a session may also end it.
    await caller.require(owner !== null && isSame(owner, caller) ? 'create' : 'delete');
    if (owner === null) {
      throw new UnderspanError(
        'not-found',
        'NO_SUCH_SESSION',
        `there is no session ${id}`,
        "'trace sessions' lists those that run",
      );
    }
    await this.sessions.stop(id, caller);
  }
}

/** A browser that holds a certificate sends this only to where it was allowed to. */
function requireJson({ headers }: IncomingMessage): void {
  if (/^application\/json\b/i.test(headers['content-type'] ?? '')) return;
  throw new UnderspanError(
    'usage',
    'REQUEST_INVALID',
    'the body of the request must be application/json',
    "send the header 'content-type: application/json'",
  );
}
