/**
 * kill -9 of the agent, again and again: services notice nothing, nobody stays stopped, nothing of
 * BPF stays, and the next agent delivers what the last one had spooled.
 */
import assert from 'node:assert/strict';
import { copyFile, readdir, readFile } from 'node:fs/promises';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseName, payloadOf } from '../../src/sinks/spool-segment.js';
import { accountOf } from '../tools/account.js';
import { AgentProcess, until } from '../tools/agent.js';
import { bpfObjectsOf, stillThere } from '../tools/bpf.js';
import { Collector } from '../tools/collector.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { runLoad } from '../tools/load.js';
import { decodeTraces } from '../tools/otlp.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { Receiver } from '../tools/receiver.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { TracedShop } from '../tools/traced-shop.js';

const KILLS = 20;
/** So that a Collector that does not answer is given up within an agent's life. */
const IMPATIENT = { OTEL_EXPORTER_OTLP_TIMEOUT: '300' };
/** Of the program that is started all the time. */
const COPIES = 4;
const ROUNDS = 4;
/** What tiny counts in so many rounds. */
const CALLS = {
  'main.work': 4 * ROUNDS,
  'main.step': 4 * ROUNDS * 3,
  'main.descend': 4 * ROUNDS * 6,
  'main.grow': 4 * 10,
};

/** Processes that are started all the time; each must come to its end as if nobody looked. */
class Passing {
  started = 0;
  private readonly running = new Set<RunningProcess>();
  private readonly wrong: string[] = [];
  private readonly over = new AbortController();
  private readonly done: Promise<void>;

  private constructor(
    private readonly folder: string,
    private readonly binaries: string[],
  ) {
    this.done = this.goOn();
  }

  static async begin(folder: string): Promise<Passing> {
    const tiny = await buildTarget('tiny');
    const binaries = Array.from({ length: COPIES + KILLS }, (_, n) => join(folder, `tiny-${n}`));
    // All before the first runs: a child that is being made holds what is still open for writing.
    for (const binary of binaries) await copyFile(tiny, binary);
    return new Passing(folder, binaries);
  }

  /** Starts one that no agent has seen yet; true if it is held now. */
  async startUnseen(): Promise<boolean> {
    const { pid } = await this.start(this.binaries.splice(COPIES, 1)[0] ?? '');
    const deadline = Date.now() + 2_000;
    while (Date.now() < deadline) {
      const state = stateOf(pid);
      if (state === null || state === 'T') return state === 'T';
      await sleep(1);
    }
    return false;
  }

  /** Waits for all that run now. Nobody else lets go who is held. */
  async allEnd(): Promise<void> {
    const now = [...this.running];
    await until('all have ended', () => {
      const left = now.filter((each) => this.running.has(each));
      return left.length === 0 ? true : null;
    });
  }

  /** Waits for all, and says what went wrong with any. */
  async end(): Promise<string[]> {
    this.over.abort();
    await this.done;
    await this.allEnd();
    return this.wrong;
  }

  private async goOn(): Promise<void> {
    while (!this.over.signal.aborted) {
      await this.start(this.binaries[this.started % COPIES] ?? '');
      await sleep(80);
    }
  }

  private async start(binary: string): Promise<RunningProcess> {
    const report = join(this.folder, `report-${this.started++}.json`);
    const child = await RunningProcess.start(binary, [report, String(ROUNDS), '50ms']);
    this.running.add(child);
    void this.check(child, report);
    return child;
  }

  private async check(child: RunningProcess, report: string): Promise<void> {
    await child.ended();
    try {
      assert.equal(child.child.exitCode, 0, String(child.child.signalCode));
      const { calls } = JSON.parse(await readFile(report, 'utf8')) as { calls: unknown };
      assert.deepEqual(calls, CALLS);
    } catch (error) {
      this.wrong.push(`${child.pid}: ${String(error)}`);
    }
    this.running.delete(child);
  }
}

function stateOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2)[0] ?? null;
  } catch {
    return null;
  }
}

/** Bytes of a program's code that differ from its file, as those of breakpoints do. */
function changedBytes(pid: number, file: string): number {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
  const line = maps.split('\n').find((each) => each.includes(' r-xp ') && each.endsWith(file));
  const [, from = '', to = '', offset = ''] = /^(\w+)-(\w+) r-xp (\w+)/.exec(line ?? '') ?? [];
  const size = parseInt(to, 16) - parseInt(from, 16);
  const memory = read(`/proc/${pid}/mem`, parseInt(from, 16), size);
  const code = read(file, parseInt(offset, 16), size);
  return code.reduce((sum, byte, at) => sum + (byte === memory[at] ? 0 : 1), 0);
}

function read(path: string, at: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  const fd = openSync(path, 'r');
  try {
    return bytes.subarray(0, readSync(fd, bytes, 0, size, at));
  } finally {
    closeSync(fd);
  }
}

interface Spooled {
  spans: string[];
  /** Spans that may come twice, and how often. */
  uncertain: number;
}

/** What lies in the spool of an agent that is gone. A file that is not whole is not counted. */
async function spooled(directory: string): Promise<Spooled> {
  const found: Spooled = { spans: [], uncertain: 0 };
  for (const name of await readdir(join(directory, 'otlp'))) {
    const segment = parseName(name);
    if (!segment) continue;
    const payload = payloadOf(await readFile(join(directory, 'otlp', name)), segment.spans);
    if (!payload) continue;
    for (const { spanId } of decodeTraces(payload)) found.spans.push(spanId);
    found.uncertain += segment.spans * segment.uncertain;
  }
  return found;
}

/** Nothing is to be said but that the Collector does not answer. */
function complaints(agent: AgentProcess): string[] {
  return agent.log
    .filter(({ level, code }) => level !== 'info' && code !== 'otlp-unreachable')
    .map((line) => JSON.stringify(line));
}

test(`killed ${KILLS} times under load`, async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const serviceName = `shop-${process.pid}`;
    const directory = join(folder, 'spool');
    const collector = await Collector.start(folder);
    const shop = await Shop.start({ serviceName });
    const passing = await Passing.begin(folder);
    const over = new AbortController();
    const load = runLoad({
      urls: [`${shop.url}/order`],
      requests: Infinity,
      rate: 50,
      concurrency: 8,
      signal: over.signal,
    });
    const trace = { symbols: 'main.*', maxRate: 0, fold: 0, maxOverhead: '100%' };
    const config = {
      rules: [
        { name: 'shop', select: { executable: shop.binary, service: serviceName }, trace },
        { name: 'tiny', select: { executable: `${folder}/tiny-*` }, trace, hold: true },
      ],
      export: { otlp: { endpoint: collector.endpoint }, spool: { directory, size: '256MiB' } },
    };
    const onDisk = new Set<string>();
    let mayComeTwice = 0;
    let heldAtKills = 0;

    const killWhen = async (agent: AgentProcess, kills: number): Promise<void> => {
      await sleep(200);
      // Nowhere to deliver to, or no answer, for the rest of its life.
      if (kills % 3 === 1) await collector.stop();
      if (kills % 3 === 2) collector.stall();
      await sleep(400);
      const { repeated } = accountOf(await agent.metrics());
      const objects = bpfObjectsOf(agent.pid);
      assert.ok(objects.links.size > 0 && objects.programs.size > 0);
      // While somebody is held.
      if (await passing.startUnseen()) heldAtKills++;
      await agent.kill();

      assert.deepEqual(complaints(agent), []);
      const left = await spooled(directory);
      for (const spanId of left.spans) onDisk.add(spanId);
      mayComeTwice += repeated + left.uncertain;
      await passing.allEnd();
      await until('BPF is gone', async () => {
        const { programs, links, maps } = await stillThere(objects);
        return programs.size + links.size + maps.size === 0 ? true : null;
      });
      if (kills % 3 === 1) await collector.resume();
      if (kills % 3 === 2) collector.proceed();
    };

    let agent = await AgentProcess.start(folder, { config, env: IMPATIENT });
    try {
      await killWhen(agent, 0);
      for (let kills = 1; kills < KILLS; kills++) {
        agent = await agent.again({ env: IMPATIENT });
        await killWhen(agent, kills);
      }
      over.abort();
      const { requests, failures, firstFailure } = await load;
      assert.equal(failures, 0, firstFailure ?? '');
      assert.deepEqual(await passing.end(), []);
      t.diagnostic(
        `${requests} requests, ${passing.started} processes, ${heldAtKills} held at kills`,
      );
      assert.ok(heldAtKills > KILLS / 2, 'too few were held to show anything');
      t.diagnostic(`${changedBytes(shop.pid, shop.binary)} breakpoints left by kills`);

      const last = await spooled(directory);
      agent = await agent.again();
      const account = await agent.process.until('all is delivered', async () => {
        const now = accountOf(await agent.metrics());
        return now.waiting === 0 && now.delivered >= last.spans.length ? now : null;
      });
      assert.equal(account.delivered, last.spans.length);
      assert.equal(account.repeated, last.uncertain);
      assert.equal((await agent.stop()).status, 0);
      assert.deepEqual(complaints(agent), []);
      assert.equal(changedBytes(shop.pid, shop.binary), 0, 'breakpoints are left');

      const spans = await collector.spans();
      const arrived = new Set(spans.map(({ spanId }) => spanId));
      const missing = [...onDisk].filter((spanId) => !arrived.has(spanId));
      const twice = spans.length - arrived.size;
      t.diagnostic(
        `${onDisk.size} spans were on disk at kills; ${twice} came twice, ${mayComeTwice} might have`,
      );
      assert.ok(onDisk.size > 0, 'nothing was ever spooled');
      assert.equal(missing.length, 0, `${missing.length} of ${onDisk.size} never came`);
      assert.ok(twice <= mayComeTwice, `${twice} came twice, at most ${mayComeTwice} counted`);
    } finally {
      over.abort();
      await agent.process.stop('SIGKILL');
      await passing.end().catch(() => undefined);
      await shop.stop();
      await collector.kill();
    }
  });
});

test('killed when a receiver has taken spans and has not said so', async (t) => {
  if (!requireBpf(t)) return;
  await inFolder(async (folder) => {
    const taken: string[] = [];
    let mute = true;
    const receiver = await Receiver.start({
      answer: async (spans) => {
        for (const { spanId } of spans) taken.push(spanId);
        // Nobody waits for it any more by then.
        if (mute) await sleep(5_000);
        return { accept: true };
      },
    });
    try {
      const { endpoint } = receiver;
      const traced = await TracedShop.start(folder, { endpoint, spool: '64MiB', env: IMPATIENT });
      try {
        await traced.order(50, 4);
        await traced.agent.kill();
        const left = await spooled(join(folder, 'spool'));
        assert.ok(left.uncertain > 0, 'nothing was under way');
        mute = false;
        traced.agent = await traced.agent.again();
        const account = await until('all is delivered', async () => {
          const now = await traced.account();
          return now.waiting === 0 && now.delivered >= left.spans.length ? now : null;
        });
        assert.equal(account.repeated, left.uncertain);
        const all = new Set(taken);
        const twice = taken.length - all.size;
        t.diagnostic(`${twice} came twice, ${account.repeated} might have`);
        assert.ok(twice > 0);
        assert.ok(twice <= account.repeated);
        assert.ok(left.spans.every((spanId) => all.has(spanId)));
        assert.deepEqual(complaints(traced.agent), []);
      } finally {
        await traced.stop();
      }
    } finally {
      receiver.stop();
    }
  });
});
