/** From a command typed to probes attached, in a program of 100 MB; and what the tracer then needs. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Tracer } from '../test/tools/tracer.js';
import { type Found, measured } from './reach.js';
import { bigBinary } from './tools/big-binary.js';
import { spread } from './tools/rounds.js';
import { range, twoDigits } from './tools/text.js';

const ROUNDS = 5;
/** What there is to do after the start is done by then. */
const SETTLED_MS = 10_000;
const IDLE_MS = 30_000;
const HUNDRED = String.raw`/^big\/pkg000\.Step1\d\d$/`;
/** Of their sites there are some more than 5,000. */
const MANY = String.raw`/^big\/pkg00[0-3]\.Step/`;
const MEGABYTE = 1 << 20;

const run = promisify(execFile);

async function withBig<T>(work: (pid: number, path: string) => Promise<T>): Promise<T> {
  const { path } = await bigBinary();
  const child = spawn(path, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(createInterface({ input: child.stdout }), 'line');
  try {
    return await work(child.pid ?? 0, path);
  } finally {
    child.kill('SIGKILL');
  }
}

/** Cold: the file's pages are not in memory but for those that run, and no cache of ours has anything. */
export function measureStartUp(): Promise<Found> {
  return withBig(async (pid, path) => {
    const cold: number[] = [];
    const warm: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const home = await mkdtemp(join(tmpdir(), 'underspan-bench-'));
      const attach = async (): Promise<number> => {
        const begin = performance.now();
        const tracer = await Tracer.attach(['--pid', String(pid), HUNDRED], {
          UNDERSPAN_CACHE_DIR: home,
        });
        const seconds = (performance.now() - begin) / 1_000;
        await tracer.stop();
        return seconds;
      };
      try {
        // GNU dd that copies nothing lets go of all the file's pages.
        await run('dd', [`if=${path}`, 'iflag=nocache', 'count=0']);
        cold.push(await attach());
        warm.push(await attach());
      } finally {
        await rm(home, { recursive: true });
      }
    }
    const [ofCold, ofWarm] = [spread(cold), spread(warm)];
    return {
      startCold: measured('startCold', ofCold.median, range(ofCold, twoDigits, ' s')),
      startWarm: measured('startWarm', ofWarm.median, range(ofWarm, twoDigits, ' s')),
    };
  });
}

export function measureFootprint(): Promise<Found> {
  return withBig(async (pid) => {
    const limit = ['--max-functions', '2000', '--max-overhead', '5%'];
    const tracer = await Tracer.attach(['--pid', String(pid), ...limit, MANY]);
    try {
      await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
      const before = await cpuNs(tracer.pid);
      await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
      const percent = ((await cpuNs(tracer.pid)) - before) / IDLE_MS / 1e4;
      const status = await readFile(`/proc/${tracer.pid}/status`, 'utf8');
      const kilobytes = (field: string): number =>
        Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
      const most = kilobytes('VmHWM') / 1_024;
      const maps = (await mapBytes(tracer.pid)) / MEGABYTE;
      // Pages of maps that are mapped into the tracer are resident there, those of the ring twice.
      const resident = kilobytes('VmRSS') / 1_024 - (await mappedMapBytes(tracer.pid)) / MEGABYTE;
      await tracer.stop();
      const sites = tracer.result.functions.reduce((sum, each) => sum + each.sites, 0);
      const text = `${(resident + maps).toFixed(0)} MB: ${resident.toFixed(0)} resident besides maps, ${maps.toFixed(0)} in maps; ${most.toFixed(0)} resident at most, with maps (${sites.toLocaleString('en')} sites)`;
      return {
        memory: measured('memory', resident + maps, text),
        idle: measured('idle', percent, `${percent.toFixed(2)} %`),
      };
    } finally {
      await tracer.stop();
    }
  });
}

/** All threads of a process, in nanoseconds. */
async function cpuNs(pid: number): Promise<number> {
  const folder = `/proc/${pid}/task`;
  const times = (await readdir(folder)).map(async (thread) =>
    Number((await readFile(join(folder, thread, 'schedstat'), 'utf8')).split(' ')[0]),
  );
  return (await Promise.all(times)).reduce((sum, each) => sum + each, 0);
}

/** How much of a process's resident memory is pages of BPF maps, each as often as it is mapped. */
async function mappedMapBytes(pid: number): Promise<number> {
  let bytes = 0;
  let isMap = false;
  for (const line of (await readFile(`/proc/${pid}/smaps`, 'utf8')).split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isMap = line.endsWith('anon_inode:bpf-map');
    else if (isMap && line.startsWith('Rss:')) bytes += Number(/\d+/.exec(line)?.[0]) * 1_024;
  }
  return bytes;
}

/** What the kernel charges for the BPF maps that a process holds, each once. */
async function mapBytes(pid: number): Promise<number> {
  const sizes = new Map<string, number>();
  for (const descriptor of await readdir(`/proc/${pid}/fd`)) {
    const to = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => '');
    if (to !== 'anon_inode:bpf-map') continue;
    const told = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8');
    const field = (name: string): string =>
      new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(told)?.[1] ?? '';
    sizes.set(field('map_id'), Number(field('memlock')));
  }
  return [...sizes.values()].reduce((sum, each) => sum + each, 0);
}
