/** A Go HTTP service on one CPU under a fixed rate of requests, each of which calls `main.step` ten times. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { buildTarget } from '../../test/tools/go.js';
import { RunningProcess } from '../../test/tools/process.js';
import { Tracer } from '../../test/tools/tracer.js';
import { type Spread, spread } from './rounds.js';

const SECONDS = 8;
/** Not measured: connections are made, a governor finds its balance. */
const WARM_UP_SECONDS = 2;
const ROUNDS = 7;
export const FUNCTION = 'main.step';

const run = promisify(execFile);

export interface Load {
  p99Ms: number;
  /** CPUs that the service took. */
  cpus: number;
}

/** With an untraced service. */
export interface Compared {
  /** % of a CPU more. */
  tax: Spread;
  p99: Spread;
}

export type Detach = () => Promise<unknown>;

/** One CPU, so that load has a meaning. */
export class Service {
  private constructor(
    readonly binary: string,
    private readonly process: RunningProcess,
    private readonly url: string,
  ) {}

  static async start(): Promise<Service> {
    const binary = await buildTarget('cost');
    const process = await RunningProcess.start(binary, ['serve', '1']);
    const url = await process.until(
      'listening',
      () => /^listening on (\S+)$/m.exec(process.output)?.[1] ?? null,
    );
    return new Service(binary, process, url);
  }

  get pid(): number {
    return this.process.pid;
  }

  /** Requests a second that take all of its CPU. */
  async capacity(): Promise<number> {
    const rate = 1_000;
    await this.load(rate, WARM_UP_SECONDS);
    return rate / (await this.load(rate, SECONDS)).cpus;
  }

  async load(rate: number, seconds: number): Promise<Load> {
    const begin = performance.now();
    const before = await this.cpuNs();
    const { stdout } = await run(this.binary, ['load', this.url, rate.toFixed(1), String(seconds)]);
    const cpus = ((await this.cpuNs()) - before) / 1e6 / (performance.now() - begin);
    const { p99Ms, failures } = JSON.parse(stdout) as { p99Ms: number; failures: number };
    if (failures > 0) throw new Error(`${failures} requests failed`);
    return { p99Ms, cpus };
  }

  /** Under load before and while it is measured. */
  async measure(rate: number, attach: (() => Promise<Detach>) | null): Promise<Load> {
    const detach = await attach?.();
    await this.load(rate, WARM_UP_SECONDS);
    const load = await this.load(rate, SECONDS);
    await detach?.();
    return load;
  }

  /**
   * Traced between untraced loads, and compared with the mean of the two beside it: the machine is
   * now faster, now slower, by more than what is to be seen.
   */
  async compare(rate: number, attach: () => Promise<Detach>): Promise<Compared> {
    const taxes: number[] = [];
    const ratios: number[] = [];
    let before = await this.measure(rate, null);
    for (let round = 0; round < ROUNDS; round++) {
      const traced = await this.measure(rate, attach);
      const after = await this.measure(rate, null);
      taxes.push((traced.cpus - (before.cpus + after.cpus) / 2) * 100);
      ratios.push(traced.p99Ms / ((before.p99Ms + after.p99Ms) / 2));
      before = after;
    }
    return { tax: spread(taxes), p99: spread(ratios) };
  }

  private async cpuNs(): Promise<number> {
    return Number(await (await fetch(`${this.url}/usage`)).text());
  }

  stop(): Promise<void> {
    return this.process.stop();
  }
}

/** Traced by us, with these options. */
export const own = (service: Service, args: string[]) => async (): Promise<Detach> => {
  const limit = ['--min-duration', '0'];
  const tracer = await Tracer.attach(['--pid', String(service.pid), ...limit, ...args, FUNCTION]);
  return () => tracer.stop();
};
