/** As much of an HTTP client as reading pods takes; everything that is read is bounded. */
import { readFileSync } from 'node:fs';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubernetesSettings } from './settings.js';

export interface ClientLimits {
  /** Of one answer. */
  bytes: number;
  /** Of one object in a watch. */
  lineBytes: number;
  requestMs: number;
  requestsPerSecond: number;
}

/** A thousand pods are about 20 MB. The rate is that of the client that Kubernetes' own parts use. */
export const CLIENT_LIMITS: ClientLimits = {
  bytes: 64 << 20,
  lineBytes: 4 << 20,
  requestMs: 15_000,
  requestsPerSecond: 5,
};

/** An answer other than 200. */
export class StatusError extends Error {
  constructor(
    readonly status: number,
    path: string,
  ) {
    super(`${path} was answered with status ${status}`);
  }
}

/** What an error says in a notice: of a failed connection to several addresses the first. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}

export class KubernetesClient {
  private readonly agent: HttpAgent | HttpsAgent;
  private readonly underWay = new Set<AbortController>();
  private readonly closing = new AbortController();
  /** When the next request may be sent. */
  private nextAt = 0;

  constructor(
    private readonly settings: KubernetesSettings,
    private readonly limits: ClientLimits = CLIENT_LIMITS,
  ) {
    const options = { keepAlive: true, maxSockets: 4 };
    this.agent = this.secure ? new HttpsAgent(options) : new HttpAgent(options);
  }

  get closed(): boolean {
    return this.closing.signal.aborted;
  }

  /** Aborted by close(). */
  get signal(): AbortSignal {
    return this.closing.signal;
  }

  close(): void {
    this.closing.abort();
    for (const each of this.underWay) each.abort();
    this.agent.destroy();
  }

  /** The JSON at a path of the server. */
  get(path: string): Promise<unknown> {
    return this.request(path, this.limits.requestMs, async (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of response as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > this.limits.bytes) {
          throw new Error(`the answer to ${path} is larger than ${this.limits.bytes} bytes`);
        }
        chunks.push(chunk);
      }
      return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
    });
  }

  /**
   * Hands over the lines of an answer as they come, until the server ends it; an error if `ms` have
   * passed. A line that is too long is null.
   */
  lines(
    path: string,
    ms: number,
    onLine: (line: string | null) => void,
    onOpen: () => void,
  ): Promise<void> {
    return this.request(path, ms, async (response) => {
      onOpen();
      const lines = new Lines(this.limits.lineBytes, onLine);
      for await (const chunk of response as AsyncIterable<Buffer>) lines.add(chunk);
    });
  }

  private get secure(): boolean {
    return this.settings.url.protocol === 'https:';
  }

  private async request<T>(
    path: string,
    ms: number,
    use: (response: IncomingMessage) => Promise<T>,
  ): Promise<T> {
    await this.turn();
    const abort = new AbortController();
    this.underWay.add(abort);
    const late = new Error(`${path} was not answered within ${ms} ms`);
    const timer = setTimeout(() => abort.abort(late), ms);
    try {
      const response = await this.send(path, abort.signal);
      if (response.statusCode === 200) return await use(response);
      response.destroy();
      throw new StatusError(response.statusCode ?? 0, path);
    } catch (error) {
      throw abort.signal.aborted ? abort.signal.reason : error;
    } finally {
      clearTimeout(timer);
      this.underWay.delete(abort);
    }
  }

  private send(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { url, token, authority, verify } = this.settings;
    const headers: Record<string, string> = {
      accept: 'application/json',
      'user-agent': 'underspan',
    };
    // Read each time: both are replaced long before the agent ends.
    if (this.secure && token !== null) {
      headers['authorization'] = `Bearer ${readFileSync(token, 'utf8').trim()}`;
    }
    const options = {
      agent: this.agent,
      signal,
      headers,
      rejectUnauthorized: verify,
      ...(this.secure && authority !== null && { ca: readFileSync(authority) }),
    };
    const target = new URL(url.pathname.replace(/\/$/, '') + path, url);
    return new Promise((resolve, reject) => {
      const request = this.secure ? httpsRequest : httpRequest;
      request(target, options).once('response', resolve).on('error', reject).end();
    });
  }

  /** Requests are spread out, so that a restart of all agents is no storm. */
  private async turn(): Promise<void> {
    const now = performance.now();
    const at = Math.max(now, this.nextAt);
    this.nextAt = at + 1_000 / this.limits.requestsPerSecond;
    if (at > now) await sleep(at - now, undefined, { signal: this.closing.signal });
  }
}

/** Bytes into lines. */
class Lines {
  private parts: Buffer[] = [];
  private bytes = 0;

  constructor(
    private readonly longest: number,
    private readonly onLine: (line: string | null) => void,
  ) {}

  add(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      this.keep(chunk.subarray(from, end));
      if (this.bytes > 0) {
        this.onLine(this.bytes > this.longest ? null : Buffer.concat(this.parts).toString('utf8'));
      }
      this.parts = [];
      this.bytes = 0;
      from = end + 1;
    }
    this.keep(chunk.subarray(from));
  }

  /** What is too long is only counted. */
  private keep(part: Buffer): void {
    this.bytes += part.length;
    if (this.bytes > this.longest) this.parts = [];
    else if (part.length > 0) this.parts.push(part);
  }
}
