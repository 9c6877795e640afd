/**
 * The sample service under load while a tracer attaches and detaches every second, every tenth time
 * killed instead: no request may fail, and nothing may be left behind. SOAK_MINUTES is for how long
 * (10).
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { runLoad } from '../tools/load.js';
import { sleep } from '../tools/process.js';
import { Shop } from '../tools/shop.js';
import { Tracer } from '../tools/tracer.js';

const MINUTES = Number(process.env['SOAK_MINUTES'] ?? 10);

interface State {
  programs: number;
  links: number;
  descriptors: number;
  residentMiB: number;
}

function count(kind: 'prog' | 'link'): number {
  const list = JSON.parse(
    execFileSync('bpftool', ['-j', kind, 'show'], { encoding: 'utf8' }),
  ) as unknown[];
  return list.length;
}

function stateOf(pid: number): State {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    programs: count('prog'),
    links: count('link'),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    residentMiB: Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024),
  };
}

const shop = await Shop.start();
const stop = new AbortController();
const load = runLoad({
  urls: ['/order', '/panic?n=1', '/deep?n=5', '/exit?n=1'].map((path) => shop.url + path),
  requests: Infinity,
  concurrency: 8,
  signal: stop.signal,
});
await sleep(2_000);
const before = stateOf(shop.pid);
const end = Date.now() + MINUTES * 60_000;
let attached = 0;
let killed = 0;
let spans = 0;
let losses = 0;
while (Date.now() < end) {
  const tracer = await Tracer.attach(['--pid', String(shop.pid), '--arg', '*', 'main.*']);
  attached++;
  await sleep(1_000);
  if (attached % 10 === 0) {
    killed++;
    tracer.child.kill('SIGKILL');
    await tracer.ended();
    continue;
  }
  if ((await tracer.stop()) !== 0) throw new Error(tracer.stderr);
  const calls = tracer.result.functions.reduce((sum, each) => sum + each.calls, 0);
  const lost = Object.values(tracer.result.lost).reduce((sum, each) => sum + each, 0);
  if (tracer.spans.length + lost !== calls) {
    throw new Error(`${tracer.spans.length} spans and ${lost} losses of ${calls} calls`);
  }
  spans += tracer.spans.length;
  losses += lost;
}
stop.abort();
const { requests, failures, firstFailure } = await load;
await sleep(1_000);
const after = stateOf(shop.pid);
await shop.stop();
const report = {
  minutes: MINUTES,
  requests,
  failures,
  firstFailure,
  attached,
  killed,
  spans,
  losses,
  before,
  after,
};
console.log(JSON.stringify(report, null, 2));
if (failures > 0 || after.programs > before.programs || after.links > before.links)
  process.exitCode = 1;
