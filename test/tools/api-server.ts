/** As much of a Kubernetes API server as tells who may do what. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Certificate } from './certificates.js';

export interface Account {
  username: string;
  groups: string[];
  /** Of the token. */
  audience: string;
  verbs: string[];
}

interface Review {
  kind: string;
  spec: {
    token?: string;
    user?: string;
    groups?: string[];
    resourceAttributes?: { group: string; resource: string; verb: string };
  };
}

const AUDIENCE = 'https://kubernetes.default.svc';

export class ApiServer {
  /** By token. */
  readonly accounts = new Map<string, Account>();
  /** Kinds of the reviews that were asked for. */
  readonly asked: string[] = [];
  /** Bearer tokens by which they were. */
  readonly bearers = new Set<string | undefined>();

  private constructor(private readonly server: Server) {}

  static async start({ certificate, key }: Certificate): Promise<ApiServer> {
    const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) });
    const api = new ApiServer(server);
    server.on('request', (request, response) => {
      let text = '';
      request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      request.on('end', () => {
        api.bearers.add(request.headers.authorization);
        const review = JSON.parse(text) as Review;
        api.asked.push(review.kind);
        response.writeHead(201, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ ...review, status: api.review(review) }));
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return api;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private review({ kind, spec }: Review): object {
    if (kind === 'TokenReview') {
      const account = this.accounts.get(spec.token ?? '');
      if (!account) return { authenticated: false, error: 'invalid bearer token' };
      const { username, groups, audience } = account;
      // As the API server does where the review names no audience.
      const user = { username, uid: '1', groups };
      if (audience !== AUDIENCE) {
        return { user, error: `token audiences ["${audience}"] is invalid` };
      }
      return { authenticated: true, user, audiences: [AUDIENCE] };
    }
    const { group, resource, verb } = spec.resourceAttributes ?? {};
    const account = [...this.accounts.values()].find(
      ({ username, groups }) =>
        username === spec.user && JSON.stringify(groups) === JSON.stringify(spec.groups),
    );
    const known = group === 'underspan.io' && resource === 'sessions';
    return { allowed: known && verb !== undefined && account?.verbs.includes(verb) === true };
  }

  add(token: string, account: Partial<Account> = {}): void {
    this.accounts.set(token, {
      username: `user of ${token}`,
      groups: ['system:authenticated'],
      audience: AUDIENCE,
      verbs: ['create', 'get', 'delete'],
      ...account,
    });
  }
}
