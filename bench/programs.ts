/** What our own programs run for at a probe, by the kernel's count, less what an empty one does. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { startTrace, type TraceOptions } from '../src/engine.js';
import { loadNative } from '../src/native/load.js';
import type { Link, Native, Programs } from '../src/native/native.js';
import { objectPath } from '../src/session/attachment.js';
import { buildTarget } from '../test/tools/go.js';
import { traceOptions } from '../test/tools/options.js';
import { RunningProcess } from '../test/tools/process.js';

const CALLS = 50_000;
const ROUNDS = 9;
const MANY_HOPS = 16;
const SILENT = { minDurationNs: 1e12 };
const RECORDED = { ringBytes: 1 << 26 };

/** Nanoseconds; medians of the rounds. */
export interface ProgramTimes {
  enterNs: number;
  leaveNs: number;
  /** More than that at the return where the call becomes a span. */
  spanNs: number;
  /** For each wrapper around the span in a context. */
  hopNs: number;
}

interface Burnt {
  enterNs: number;
  leaveNs: number;
}

function nsARun(programs: readonly Programs[], name: string): number {
  const times = programs
    .flatMap((each) => each.runTimes())
    .filter(({ program, runCount }) => program === name && runCount > 0);
  const runs = times.reduce((sum, { runCount }) => sum + runCount, 0);
  return times.reduce((sum, { runTimeNs }) => sum + runTimeNs, 0) / runs;
}

class Bench {
  private readonly native = loadNative();

  private constructor(
    private readonly target: RunningProcess,
    private readonly url: string,
    private readonly empty: string,
  ) {}

  static async start(): Promise<Bench> {
    const features = await loadNative().features();
    const target = await RunningProcess.start(await buildTarget('calls'), []);
    const url = await target.until(
      'listening',
      () => /^listening on (\S+)$/m.exec(target.output)?.[1] ?? null,
    );
    return new Bench(target, url, objectPath('empty', features));
  }

  /** One round, with an empty program at the same sites, so that both see the same machine. */
  async burn(query: string, symbol: string, options: Partial<TraceOptions>): Promise<Burnt> {
    const { native, target } = this;
    const loaded: Programs[] = [];
    const empties: Record<string, Programs[]> = { enter: [], leave: [] };
    const links: Link[] = [];
    const load: Native['load'] = async (each) => {
      const programs = await native.load(each);
      loaded.push(programs);
      const attachUprobes: Programs['attachUprobes'] = async (program, sites) => {
        if (program in empties) {
          const { attach, sleepable } = each;
          const empty = await native.load({ object: this.empty, attach, sleepable });
          empties[program]?.push(empty);
          links.push(await empty.attachUprobes('empty', sites));
        }
        return programs.attachUprobes(program, sites);
      };
      return new Proxy(programs, {
        get: (target, name) => {
          if (name === 'attachUprobes') return attachUprobes;
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
      });
    };
    const watched = Object.assign(Object.create(native) as Native, { load });
    const trace = await startTrace(watched, traceOptions(target.pid, symbol, options));
    const response = await fetch(`${this.url}${query}`);
    if (!response.ok) throw new Error(`${query}: ${response.status}`);
    await response.arrayBuffer();
    const spent = (name: string): number =>
      nsARun(loaded, name) - nsARun(empties[name] ?? [], 'empty');
    const burnt = { enterNs: spent('enter'), leaveNs: spent('leave') };
    await Promise.all(links.map((link) => link.detach()));
    await trace.stop();
    for (const each of Object.values(empties).flat()) each.close();
    return burnt;
  }

  stop(): Promise<void> {
    return this.target.stop();
  }
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? NaN;
}

export async function measurePrograms(rounds = ROUNDS): Promise<ProgramTimes> {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  execFileSync('scripts/build-bpf', ['bench/empty.bpf.c'], { cwd: root });
  const bench = await Bench.start();
  const plain = `/plain?calls=${CALLS}`;
  const context = (hops: number): string => `/context?calls=${CALLS}&hops=${hops}`;
  const silent: Burnt[] = [];
  const recorded: Burnt[] = [];
  const near: Burnt[] = [];
  const far: Burnt[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      silent.push(await bench.burn(plain, 'main.plain', SILENT));
      recorded.push(await bench.burn(plain, 'main.plain', RECORDED));
      near.push(await bench.burn(context(0), 'main.withContext', SILENT));
      far.push(await bench.burn(context(MANY_HOPS), 'main.withContext', SILENT));
    }
  } finally {
    await bench.stop();
  }
  const differences = (more: Burnt[], less: Burnt[], what: keyof Burnt): number =>
    median(more.map((each, round) => each[what] - (less[round]?.[what] ?? NaN)));
  return {
    enterNs: median(silent.map(({ enterNs }) => enterNs)),
    leaveNs: median(silent.map(({ leaveNs }) => leaveNs)),
    spanNs: differences(recorded, silent, 'leaveNs') + differences(recorded, silent, 'enterNs'),
    hopNs: differences(far, near, 'enterNs') / MANY_HOPS,
  };
}
