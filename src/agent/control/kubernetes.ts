/** Tokens of Kubernetes: who it is, and whether RBAC lets them, as the API server says. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { UnderspanError } from '../../errors.js';
import { notLetIn, type Verb } from './caller.js';

const RBAC_GROUP = 'underspan.io';
const RBAC_RESOURCE = 'sessions';

const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** How long a yes counts; a no is asked again. */
const CACHE_MS = 30_000;
const MAX_CACHED = 1_000;
/** Strangers may not make the agent flood the API server. */
const MAX_UNDER_WAY = 8;
const TIMEOUT_MS = 5_000;
const MAX_ANSWER_BYTES = 1 << 20;

export interface KubernetesTokensOptions {
  /** Of the API server; by default the cluster's own. */
  url?: string;
  /** File of its authority's certificates. */
  authorityFile?: string;
  /** File of the agent's own token; read for each request, since it is renewed. */
  tokenFile?: string;
  /** Milliseconds of any clock. */
  now?: () => number;
}

/** A user as TokenReview tells it and SubjectAccessReview takes it. */
export interface KubernetesUser {
  username: string;
  uid?: string;
  groups?: string[];
  extra?: Record<string, string[]>;
}

export class KubernetesTokens {
  private readonly url: string;
  private readonly authorityFile: string;
  private readonly tokenFile: string;
  private readonly now: () => number;
  private readonly cache = new Map<string, { until: number; value: unknown }>();
  private underWay = 0;

  constructor(options: KubernetesTokensOptions = {}, env: NodeJS.ProcessEnv = process.env) {
    this.url = options.url ?? clusterUrl(env);
    this.authorityFile = options.authorityFile ?? `${ACCOUNT}/ca.crt`;
    this.tokenFile = options.tokenFile ?? `${ACCOUNT}/token`;
    this.now = options.now ?? ((): number => performance.now());
  }

  /** Whose token it is; throws if it is nobody's. */
  user(token: string): Promise<KubernetesUser> {
    return this.cached(`user ${token}`, async () => {
      const status = await this.review('authentication.k8s.io', 'TokenReview', { token });
      const { authenticated, user } = status;
      if (authenticated !== true || !isUser(user)) {
        throw notLetIn(
          'the API server does not accept the token',
          'give one for the audience of the API server that has not expired',
        );
      }
      return user;
    });
  }

  /** Throws if RBAC does not allow it. */
  async require(user: KubernetesUser, verb: Verb): Promise<void> {
    const { username, uid, groups, extra } = user;
    await this.cached(`may ${verb} ${JSON.stringify(user)}`, async () => {
      const resourceAttributes = { group: RBAC_GROUP, resource: RBAC_RESOURCE, verb };
      const spec = { user: username, uid, groups, extra, resourceAttributes };
      const status = await this.review('authorization.k8s.io', 'SubjectAccessReview', spec);
      if (status['allowed'] === true && status['denied'] !== true) return true;
      throw new UnderspanError(
        'not-permitted',
        'RBAC_DENIED',
        `${username} may not ${verb} ${RBAC_RESOURCE}.${RBAC_GROUP}`,
        `a ClusterRole must allow it: apiGroups [${RBAC_GROUP}], resources [${RBAC_RESOURCE}], verbs [${verb}]`,
      );
    });
  }

  private async cached<T>(question: string, ask: () => Promise<T>): Promise<T> {
    // Tokens are not kept in memory for longer than they are asked about.
    const key = createHash('sha256').update(question).digest('base64');
    const known = this.cache.get(key);
    if (known && this.now() < known.until) return known.value as T;
    // From before it is asked: what changes meanwhile counts no later for it.
    const until = this.now() + CACHE_MS;
    const value = await ask();
    this.cache.delete(key);
    this.cache.set(key, { until, value });
    for (const oldest of this.cache.keys()) {
      if (this.cache.size <= MAX_CACHED) break;
      this.cache.delete(oldest);
    }
    return value;
  }

  /** Status of the answer. Whatever goes wrong lets nobody in. */
  private async review(
    group: string,
    kind: string,
    spec: object,
  ): Promise<Record<string, unknown>> {
    if (this.underWay >= MAX_UNDER_WAY) throw unanswered('too many tokens are being checked');
    this.underWay++;
    try {
      const path = `/apis/${group}/v1/${kind.toLowerCase()}s`;
      const body = { apiVersion: `${group}/v1`, kind, spec };
      const answer = JSON.parse(await this.post(path, JSON.stringify(body))) as unknown;
      const status = isObject(answer) ? answer['status'] : undefined;
      if (!isObject(status)) throw new Error('the answer has no status');
      return status;
    } catch (error) {
      throw unanswered(error instanceof Error ? error.message : String(error), error);
    } finally {
      this.underWay--;
    }
  }

  private post(path: string, body: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const outgoing = request(new URL(path, this.url), {
        method: 'POST',
        ca: readFileSync(this.authorityFile),
        // No connection is kept: questions are rare, and authorities change.
        agent: false,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        headers: {
          authorization: `Bearer ${readFileSync(this.tokenFile, 'utf8').trim()}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          accept: 'application/json',
        },
      });
      outgoing.on('error', reject);
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error('the answer is too long'));
        });
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode } = response;
          if (statusCode === 200 || statusCode === 201) {
            resolve(Buffer.concat(chunks).toString('utf8'));
          } else reject(new Error(`it answered with status ${statusCode}`));
        });
      });
      outgoing.end(body);
    });
  }
}

function clusterUrl(env: NodeJS.ProcessEnv): string {
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'] ?? '443';
  if (!host) {
    throw new UnderspanError(
      'usage',
      'NO_CLUSTER',
      'control.network.kubernetesTokens: this is no pod, so that there is no API server to ask',
      'run the agent in the cluster, or let in certificates: control.network.tls.clientAuthority',
    );
  }
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

const unanswered = (reason: string, cause?: unknown): UnderspanError =>
  new UnderspanError(
    'not-permitted',
    'API_SERVER_UNANSWERED',
    `the token could not be checked: ${reason}`,
    "try again; the agent's service account needs the role system:auth-delegator",
    { cause },
  );

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isUser = (user: unknown): user is KubernetesUser =>
  isObject(user) && typeof user['username'] === 'string' && user['username'] !== '';
