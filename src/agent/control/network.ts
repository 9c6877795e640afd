/** The same interface over the network: TLS, and nobody is let in without a proof. */
import { readFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { UnderspanError } from '../../errors.js';
import type { ControlNetworkConfig } from '../config/config.js';
import { type Caller, notLetIn } from './caller.js';
import { KubernetesTokens, type KubernetesTokensOptions } from './kubernetes.js';

const MAX_CONNECTIONS = 100;
const HANDSHAKE_MS = 10_000;
const KEEP_ALIVE_MS = 30_000;

export class NetworkListener {
  readonly server: Server;
  private readonly tokens: KubernetesTokens | null;
  private proofs: SecureContextOptions;

  constructor(
    private readonly config: ControlNetworkConfig,
    handle: RequestListener,
    kubernetes?: KubernetesTokensOptions,
  ) {
    const { clientAuthority, kubernetesTokens } = config;
    if (clientAuthority === null && !kubernetesTokens) {
      throw new UnderspanError(
        'usage',
        'NO_WAY_IN',
        'control.network: nobody could be let in',
        'set control.network.tls.clientAuthority, or control.network.kubernetesTokens: true',
      );
    }
    this.tokens = kubernetesTokens ? new KubernetesTokens(kubernetes) : null;
    this.proofs = this.readProofs();
    const options = {
      ...this.proofs,
      requestCert: clientAuthority !== null,
      // Without a certificate there may still be a token.
      rejectUnauthorized: clientAuthority !== null && !kubernetesTokens,
      handshakeTimeout: HANDSHAKE_MS,
      // For a client that is no more, and could not say so.
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    };
    try {
      this.server = createServer(options, handle);
    } catch (error) {
      throw unusable('tls', error);
    }
    this.server.maxConnections = MAX_CONNECTIONS;
  }

  /** Certificates are renewed while the agent runs. Throws, and keeps those it has, if it cannot. */
  renew(): void {
    const proofs = this.readProofs();
    if (isDeepStrictEqual(proofs, this.proofs)) return;
    try {
      this.server.setSecureContext(proofs);
    } catch (error) {
      throw unusable('tls', error);
    }
    this.proofs = proofs;
  }

  private readProofs(): SecureContextOptions {
    const { certificate, key, clientAuthority } = this.config;
    return {
      cert: readNamed(certificate, 'tls.certificate'),
      key: readNamed(key, 'tls.key'),
      ...(clientAuthority === null
        ? {}
        : { ca: readNamed(clientAuthority, 'tls.clientAuthority') }),
      minVersion: 'TLSv1.2',
    };
  }

  async listen(): Promise<void> {
    const { host, port } = this.config.listen;
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', (error) => reject(unusable('listen', error)));
      this.server.listen(port, host, resolve);
    });
  }

  /** Throws for whoever is not let in. */
  async caller(request: IncomingMessage): Promise<Caller> {
    const from = request.socket.remoteAddress ?? 'unknown';
    const subject = this.subject(request.socket as TLSSocket);
    if (subject !== null) {
      return {
        ...{ via: 'certificate', who: subject, from },
        require: () => Promise.resolve(),
      };
    }
    const { tokens } = this;
    const token = /^Bearer ([\w.~+/-]+=*)$/.exec(request.headers.authorization ?? '')?.[1];
    if (tokens === null || token === undefined) {
      throw notLetIn(
        'the agent lets in nobody without a proof of who they are',
        tokens === null
          ? 'give a certificate: --agent-cert, --agent-key'
          : 'give a token of Kubernetes: --agent-token-file',
      );
    }
    const user = await tokens.user(token);
    return {
      ...{ via: 'token', who: user.username, from },
      require: (verb) => tokens.require(user, verb),
    };
  }

  /** Of a certificate of the clients' authority; null without one. */
  private subject(socket: TLSSocket): string | null {
    if (this.config.clientAuthority === null || !socket.authorized) return null;
    // A TLS 1.3 session that is resumed counts as authorized also if no certificate ever came.
    const certificate = socket.getPeerX509Certificate();
    return certificate?.subject ? certificate.subject.replaceAll('\n', ', ') : null;
  }
}

function readNamed(file: string, field: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw unusable(field, error);
  }
}

const unusable = (field: string, cause: unknown): UnderspanError =>
  new UnderspanError(
    'failed',
    'NETWORK_UNUSABLE',
    `control.network.${field}: ${cause instanceof Error ? cause.message : String(cause)}`,
    'correct it, or leave out control.network',
    { cause },
  );
