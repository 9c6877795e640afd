/** As much of an API server and of a kubelet as an agent asks for. */
import { once } from 'node:events';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface FakePod {
  metadata: Record<string, unknown> & { name: string; uid: string };
  [part: string]: unknown;
}

export interface Asked {
  path: string;
  query: URLSearchParams;
  authorization: string | undefined;
}

export class KubeServer {
  readonly pods = new Map<string, FakePod>();
  /** By path: what else there is. */
  readonly objects = new Map<string, unknown>();
  readonly asked: Asked[] = [];
  /** What comes before the usual answer; true: it has been given. */
  intercept: ((asked: Asked, response: ServerResponse) => boolean) | null = null;
  version = 100;
  private readonly watches = new Set<ServerResponse>();

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {
    server.on('request', (request: IncomingMessage, response: ServerResponse) =>
      this.answer(request, response),
    );
  }

  static async start(certificate: { key: Buffer; cert: Buffer } | null): Promise<KubeServer> {
    const server = certificate ? createHttpsServer(certificate) : createHttpServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return new KubeServer(server, `${certificate ? 'https' : 'http'}://127.0.0.1:${port}`);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  get watching(): number {
    return this.watches.size;
  }

  askedFor(path: string): Asked[] {
    return this.asked.filter((each) => each.path === path);
  }

  /** Changes a pod, and tells those who watch. */
  set(pod: FakePod): void {
    const type = this.pods.has(pod.metadata.uid) ? 'MODIFIED' : 'ADDED';
    this.pods.set(pod.metadata.uid, pod);
    this.emit(type, this.stamped(pod));
  }

  delete(uid: string): void {
    const pod = this.pods.get(uid);
    if (!pod) throw new Error(`there is no pod ${uid}`);
    this.pods.delete(uid);
    this.emit('DELETED', this.stamped(pod));
  }

  emit(type: string, object: unknown): void {
    this.send(JSON.stringify({ type, object }));
  }

  send(line: string): void {
    for (const watch of this.watches) watch.write(`${line}\n`);
  }

  /** Ends all watches: as a server does whose time is up, or as a broken connection. */
  endWatches(how: 'end' | 'destroy'): void {
    for (const watch of this.watches) watch[how]();
    this.watches.clear();
  }

  private stamped(pod: FakePod): FakePod {
    return {
      ...pod,
      metadata: { ...pod.metadata, resourceVersion: String(++this.version) },
    };
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname: path, searchParams: query } = new URL(request.url ?? '/', this.url);
    const asked = { path, query, authorization: request.headers.authorization };
    this.asked.push(asked);
    if (this.intercept?.(asked, response)) return;
    if ((path === '/api/v1/pods' && !query.has('watch')) || path === '/pods') {
      const metadata = { resourceVersion: String(this.version) };
      json(response, 200, { kind: 'PodList', metadata, items: [...this.pods.values()] });
    } else if (path === '/api/v1/pods') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.flushHeaders();
      this.watches.add(response);
      response.on('close', () => this.watches.delete(response));
    } else if (this.objects.has(path)) {
      json(response, 200, this.objects.get(path));
    } else {
      json(response, 404, { kind: 'Status', code: 404 });
    }
  }
}

export function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

/** A pod of a Deployment by default. */
export function makePod(of: {
  uid: string;
  name?: string;
  containerId?: string;
  owner?: { kind: string; name: string } | null;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  phase?: string;
  image?: string;
}): FakePod {
  const { name = 'checkout-7d9f8c6b5-abcde', labels = {}, annotations = {} } = of;
  const owner =
    of.owner === undefined ? { kind: 'ReplicaSet', name: 'checkout-7d9f8c6b5' } : of.owner;
  const { image = 'registry.example:5000/shop/checkout:1.2' } = of;
  return {
    metadata: {
      name,
      namespace: 'shop',
      uid: of.uid,
      labels: { app: 'checkout', 'pod-template-hash': '7d9f8c6b5', ...labels },
      annotations,
      ownerReferences: owner ? [{ ...owner, apiVersion: 'v1', uid: 'x', controller: true }] : [],
    },
    spec: { nodeName: 'node-1', containers: [{ name: 'checkout', image }] },
    status: {
      phase: of.phase ?? 'Running',
      containerStatuses: of.containerId
        ? [{ name: 'checkout', containerID: `containerd://${of.containerId}`, image: 'sha256:0' }]
        : [],
    },
  };
}
