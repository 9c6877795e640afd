/** Where pods are read from, and as whom. */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { KubernetesConfig } from '../../agent/config/config.js';
import { UnderspanError } from '../../errors.js';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface KubernetesOptions extends KubernetesConfig {
  /** Whether the server's certificate is checked; a kubelet's is often signed by itself. */
  verify?: boolean;
  /** Folder of token and ca.crt. */
  serviceAccount?: string;
  environment?: Readonly<Record<string, string | undefined>>;
}

export interface KubernetesSettings {
  source: 'kubelet' | 'api';
  url: URL;
  nodeName: string;
  /** Files, which are replaced while the agent runs; null where there are none. */
  token: string | null;
  authority: string | null;
  verify: boolean;
}

/** null: nothing is read. Throws where what was asked for cannot be. */
export function kubernetesSettings(options: KubernetesOptions): KubernetesSettings | null {
  const { verify = true, serviceAccount = SERVICE_ACCOUNT, environment = process.env } = options;
  const token = join(serviceAccount, 'token');
  const authority = join(serviceAccount, 'ca.crt');
  const cluster = clusterUrl(environment);
  let { source } = options;
  if (source === 'auto') source = cluster && existsSync(token) ? 'api' : 'none';
  if (source === 'none') return null;
  const url = options.url ?? (source === 'api' ? cluster : kubeletUrl(environment));
  if (url === null) throw nowhere(source);
  return {
    source,
    url: parse(url),
    nodeName: options.nodeName ?? environment['NODE_NAME'] ?? hostname(),
    token: existsSync(token) ? token : null,
    authority: existsSync(authority) ? authority : null,
    verify,
  };
}

function clusterUrl(environment: Readonly<Record<string, string | undefined>>): string | null {
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT'] || '443';
  return host ? `https://${bracketed(host)}:${port}` : null;
}

function kubeletUrl(environment: Readonly<Record<string, string | undefined>>): string | null {
  const host = environment['NODE_IP'];
  return host ? `https://${bracketed(host)}:10250` : null;
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

function parse(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed?.protocol === 'https:' || parsed?.protocol === 'http:') return parsed;
  throw new UnderspanError(
    'usage',
    'KUBERNETES_URL_INVALID',
    `'${url}' is not a URL that pods can be read from`,
    'write one such as https://10.0.0.1:10250',
  );
}

function nowhere(source: 'kubelet' | 'api'): UnderspanError {
  return source === 'api'
    ? new UnderspanError(
        'usage',
        'KUBERNETES_NOT_FOUND',
        'pods shall be read from the API server, and KUBERNETES_SERVICE_HOST is not set',
        'run in a pod, or give kubernetes.url',
      )
    : new UnderspanError(
        'usage',
        'KUBERNETES_NOT_FOUND',
        'pods shall be read from the kubelet, and NODE_IP is not set',
        'set NODE_IP from the pod field status.hostIP, or give kubernetes.url',
      );
}
