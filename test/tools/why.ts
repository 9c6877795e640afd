/** `trace why` on the sample shop, with one of its faults. */
import { runLoad } from './load.js';
import { sleep } from './process.js';
import type { Shop } from './shop.js';
import { trace } from './tracer.js';

/** What `trace why --output json` says, as far as tests ask. */
export interface WhyAnswer {
  sentence: string;
  request: string;
  requests: number;
  slow: number;
  verdict: {
    function: string;
    reason: string | null;
    agree: number;
    of: number;
    share: number;
    by: { function: string; traceId: string | null } | null;
    calls: { function: string; slow: number; normal: number } | null;
    error: { type: string | null; message: string | null } | null;
    mark: { key: string; value: string } | null;
    traceId: string;
  } | null;
  nothing: string | null;
  functions: { name: string; share: number }[];
  path: { name: string }[];
  others: { request: string; requests: number; slow: number }[];
  lookedAgain: {
    durationNano: number;
    functions: number;
    added: string[];
    leftOut: string[];
    answers: boolean;
    overhead: Overhead;
  } | null;
  lost: Record<string, number>;
  overhead: Overhead;
}

interface Overhead {
  predicted: number | null;
  measured: number | null;
}

const TENANTS = ['acme', 'brown', 'cole', 'drake', 'evans'];
/** Requests a second, and how many at once. */
const RATE = 40;
const CONCURRENCY = 4;

/** Returns the function that the seed has chosen. */
export async function setFault(shop: Shop, kind: string | null, seed: number): Promise<string> {
  const query = kind === null ? '' : `?kind=${kind}&seed=${seed}`;
  const response = await fetch(`${shop.url}/fault${query}`, { method: 'POST' });
  const text = await response.text();
  if (!response.ok) throw new Error(`fault: ${response.status} ${text}`);
  return text.trim();
}

/** Orders of several customers, and audits, until it is aborted. */
export async function shopping(shop: Shop, signal: AbortSignal): Promise<void> {
  const urls = [2, 3, 2, 3, 4].flatMap((items) =>
    TENANTS.map((tenant) => `${shop.url}/order?items=${items}&tenant=${tenant}`),
  );
  const audits = async (): Promise<void> => {
    while (!signal.aborted) {
      await fetch(`${shop.url}/audit`).then((response) => response.arrayBuffer());
      await sleep(40);
    }
  };
  const load = { urls, requests: Infinity, concurrency: CONCURRENCY, rate: RATE, signal };
  await Promise.all([runLoad(load), audits()]);
}

export async function askWhy(shop: Shop, args: readonly string[]): Promise<WhyAnswer> {
  const { status, stdout, stderr } = await trace([
    ...['why', '--pid', String(shop.pid), '--output', 'json'],
    ...args,
  ]);
  if (status !== 0) throw new Error(`trace why: status ${status}\n${stderr}`);
  return JSON.parse(stdout) as WhyAnswer;
}
