import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BootCache } from './boot-cache.js';
import type { Finding } from './host.js';
import type { Features, Native } from './native.js';
import { ownStamp } from './own-stamp.js';

const NAME = 'features';
const RUN_TIMES = 'kernel.bpf_stats_enabled';

/** Whether somebody has the kernel measure BPF programs for everyone: what only an admin may ask. */
export function runTimesAreOn(procRoot = '/proc'): boolean {
  try {
    const path = join(procRoot, 'sys', RUN_TIMES.replace('.', '/'));
    return readFileSync(path, 'utf8').trim() === '1';
  } catch {
    return false;
  }
}

/** Each feature of the kernel: what it gives, and what happens without it. */
export const FEATURES: Record<
  keyof Features,
  { name: string; gives: string; without: string; since: string; needed?: true }
> = {
  btf: {
    name: 'kernel BTF',
    gives: 'types of the kernel',
    without: 'programs cannot follow the structures of the kernel',
    since: 'CONFIG_DEBUG_INFO_BTF',
    needed: true,
  },
  ringBuffer: {
    name: 'BPF ring buffer',
    gives: 'records in order, at little cost',
    without: 'records leave by perf buffers, one for each CPU (--transport perf)',
    since: 'Linux 5.8',
  },
  cookies: {
    name: 'probe cookies',
    gives: 'a probe that knows its function',
    without: 'functions are told by their address',
    since: 'Linux 5.15',
  },
  uprobeMulti: {
    name: 'uprobe_multi',
    gives: 'thousands of probes in milliseconds',
    without:
      'probes are attached one by one, and to all processes that run the file: seconds for a thousand, minutes to detach. 100 functions at once, unless told otherwise',
    since: 'Linux 6.6',
  },
  uprobeMultiThreads: {
    name: 'uprobe_multi on threads',
    gives: 'probes that hold for one process and all its threads',
    without: 'probes go to all processes that run the file, and others are filtered out',
    since: 'Linux 6.10',
  },
  uprobeSession: {
    name: 'uprobe sessions',
    gives: 'returns of native functions whose ends cannot be told from their code',
    without: 'calls of native functions that leave by an indirect jump are only counted',
    since: 'Linux 6.13',
  },
  sleepable: {
    name: 'sleepable probes',
    gives: 'reading memory that is not resident',
    without: 'a context in such memory is counted as unreadable',
    since: 'Linux 6.0',
  },
  atomics: {
    name: 'BPF atomics',
    gives: 'exact limits across CPUs',
    without: 'limits such as --max-rate are approximate',
    since: 'Linux 5.12',
  },
  findsMappings: {
    name: 'mappings in BPF',
    gives: 'coroutines and signal handlers on stacks of their own are told apart',
    without: 'a thread of a native program is taken to have one stack',
    since: 'Linux 5.17',
  },
  writesRegisters: {
    name: 'probes that write registers',
    gives: 'returns without a single step, at a fraction of the price',
    without: 'each return is single-stepped: a second trap',
    since: 'Linux 6.19',
  },
  runTimeStatistics: {
    name: 'BPF run times',
    gives: 'the measured overhead, from samples',
    without: 'the overhead is predicted only',
    since: `Linux 5.8, and CAP_SYS_ADMIN or ${RUN_TIMES}=1 by sysctl`,
  },
  kprobes: {
    name: 'kprobes',
    gives: 'functions of the kernel, one probe each',
    without: 'functions of the kernel are traced by kprobe.multi or fentry, if at all',
    since: 'a kernel built with CONFIG_KPROBE_EVENTS',
  },
  kprobeMulti: {
    name: 'kprobe.multi',
    gives: 'thousands of functions of the kernel in milliseconds',
    without: 'functions of the kernel are attached one by one',
    since: 'Linux 5.18, built with CONFIG_FPROBE',
  },
  fentry: {
    name: 'fentry and fexit',
    gives: 'functions of the kernel where there are no kprobes',
    without: 'functions of the kernel need kprobes',
    since: 'Linux 5.5, built with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS',
  },
};

/** What the kernel lets this process do; tried once per boot, since each try waits for the kernel. */
export async function knownFeatures(native: Native, cache = new BootCache()): Promise<Features> {
  const circumstances = { made: ownStamp(), confinement: confinement() };
  const known = cache.read(NAME, circumstances);
  if (isFeatures(known)) return known;
  const found = await native.features();
  cache.write(NAME, circumstances, found);
  return found;
}

/** By which the kernel decides what a process may do. */
function confinement(): unknown {
  const status = readFileSync('/proc/self/status', 'utf8');
  return {
    status: status.match(/^(?:Uid|CapEff|NoNewPrivs|Seccomp|Seccomp_filters):.*$/gm),
    label: tryRead('/proc/self/attr/current'),
    lockdown: tryRead('/sys/kernel/security/lockdown'),
    users: readlinkSync('/proc/self/ns/user'),
    paranoid: tryRead('/proc/sys/kernel/perf_event_paranoid'),
  };
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function isFeatures(value: unknown): value is Features {
  if (typeof value !== 'object' || value === null) return false;
  const found = value as Record<string, unknown>;
  return Object.keys(FEATURES).every((key) => typeof found[key] === 'boolean');
}

export async function featureFindings(
  native: Pick<Native, 'features'>,
  proc: string,
): Promise<Finding[]> {
  let features: Features;
  try {
    features = await native.features();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return [{ name: 'kernel features', state: 'missing', detail: `cannot be probed: ${reason}` }];
  }
  return (Object.keys(FEATURES) as (keyof Features)[]).map((key) => {
    const { name, gives, without, since, needed } = FEATURES[key];
    return features[key] || (key === 'runTimeStatistics' && runTimesAreOn(proc))
      ? { name, state: 'ok', detail: gives }
      : { name, state: needed ? 'missing' : 'limited', detail: without, remedy: since };
  });
}
