import { Agent, request } from 'node:http';
import { sleep } from './process.js';

export interface LoadOptions {
  /** Requested in turn. */
  urls: string[];
  requests: number;
  concurrency: number;
  /** Requests a second; default is as fast as they are answered. */
  rate?: number;
  /** Which answers are no failure; default is all below 500. */
  accept?: (status: number) => boolean;
  /** Ends the load early. */
  signal?: AbortSignal;
}

export interface LoadResult {
  requests: number;
  failures: number;
  /** The first of them, for a message. */
  firstFailure: string | null;
  seconds: number;
  perSecond: number;
  /** Sorted. */
  latenciesMs: number[];
  /** Of each answer that had one. */
  traceIds: string[];
}

/** A bounded load over kept-alive connections. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: options.concurrency });
  const accept = options.accept ?? ((status: number) => status < 500);
  const latenciesMs: number[] = [];
  const traceIds: string[] = [];
  let started = 0;
  let failures = 0;
  let firstFailure: string | null = null;
  const begin = performance.now();

  const client = async (): Promise<void> => {
    while (started < options.requests && !options.signal?.aborted) {
      const n = started++;
      const url = options.urls[n % options.urls.length];
      if (url === undefined) throw new Error('a load without URLs');
      if (options.rate !== undefined)
        await sleep(Math.max(0, begin + (n * 1000) / options.rate - performance.now()));
      const from = performance.now();
      const answer = await get(url, agent);
      latenciesMs.push(performance.now() - from);
      if (answer.traceId !== null) traceIds.push(answer.traceId);
      if (answer.error === null && accept(answer.status)) continue;
      failures++;
      firstFailure ??= `${url}: ${answer.error ?? answer.status}`;
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, client));
  agent.destroy();

  const seconds = (performance.now() - begin) / 1000;
  latenciesMs.sort((a, b) => a - b);
  const requests = latenciesMs.length;
  const perSecond = requests / seconds;
  return { requests, failures, firstFailure, seconds, perSecond, latenciesMs, traceIds };
}

/** The value below which a share of sorted values lies. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

interface Answer {
  status: number;
  traceId: string | null;
  error: string | null;
}

function get(url: string, agent: Agent): Promise<Answer> {
  return new Promise((resolve) => {
    const fail = (error: Error): void =>
      resolve({ status: 0, traceId: null, error: error.message });
    const sent = request(url, { agent, timeout: 30_000 }, (response) => {
      const header = response.headers['x-trace-id'];
      const traceId = typeof header === 'string' ? header : null;
      response.resume();
      response.on('error', fail);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, traceId, error: null }));
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer in 30 s')));
    sent.on('error', fail);
    sent.end();
  });
}
