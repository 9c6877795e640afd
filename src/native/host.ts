import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { arch, release } from 'node:os';
import { join } from 'node:path';
import { featureFindings } from './features.js';
import type { Native } from './native.js';

export interface Finding {
  name: string;
  /** `limited`: tracing works, with what `detail` says. */
  state: 'ok' | 'limited' | 'missing';
  /** What was found, and what it gives or takes. */
  detail: string;
  /** How to get the rest. */
  remedy?: string;
}

export interface HostReport {
  kernel: string;
  machine: string;
  node: string;
  /** Functions of user programs can be traced. */
  ready: boolean;
  findings: Finding[];
}

export interface HostPaths {
  proc: string;
  sys: string;
}

const HOST: HostPaths = { proc: '/proc', sys: '/sys' };

/** Numbers of linux/capability.h, with what each is needed for. */
const CAPABILITIES = [
  { name: 'CAP_BPF', bit: 39n, gives: 'BPF programs and maps' },
  { name: 'CAP_PERFMON', bit: 38n, gives: 'probes, and reading memory from BPF' },
  { name: 'CAP_SYS_PTRACE', bit: 19n, gives: 'other processes' },
];
const CAP_SYS_ADMIN = 21n;

/** The kernel guards what belongs to another user by file modes too, whoever may trace it. */
export const READ_OTHERS = 'CAP_DAC_READ_SEARCH';
export const CONTINUE_OTHERS = 'CAP_KILL';
export const LEASE_OTHERS = 'CAP_LEASE';

/** Tracing does without these. `bits`: any of them is enough. */
const FURTHER = [
  {
    name: READ_OTHERS,
    // CAP_DAC_OVERRIDE lets do more.
    bits: [2n, 1n],
    gives: 'processes of other users',
    without: "of other users' processes only what everyone may read: no resource attributes",
  },
  {
    name: CONTINUE_OTHERS,
    bits: [5n],
    gives: "rules with 'hold: true', which stop processes of other users until they are attached",
    without: "no rules with 'hold: true': other users' processes could not be let go on",
  },
  {
    name: LEASE_OTHERS,
    bits: [28n],
    gives: 'probes that wait in executables of other users for the next process',
    without:
      "probes do not wait in other users' executables: each time anew, the first calls are missed",
  },
];

/** PROC_PID_INIT_INO of the kernel: the PID namespace that the host began with. */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';

/** Names of the capabilities that tracing needs and this process lacks. */
export function missingCapabilities(procRoot = HOST.proc): string[] {
  const effective = effectiveCapabilities(procRoot);
  const has = (bit: bigint): boolean => ((effective >> bit) & 1n) === 1n;
  return CAPABILITIES.filter(({ name, bit }) => {
    // Kernels before 5.8 know CAP_SYS_ADMIN only, and later ones let it stand for these two.
    const implied = name !== 'CAP_SYS_PTRACE' && has(CAP_SYS_ADMIN);
    return !implied && !has(bit);
  }).map(({ name }) => name);
}

/** Whether files, environments and memory of other users' processes can be read. */
export function mayReadOthers(procRoot = HOST.proc): boolean {
  return has(READ_OTHERS, procRoot);
}

/** Whether processes of other users can be told to go on, once they have been stopped. */
export function mayContinueOthers(procRoot = HOST.proc): boolean {
  return has(CONTINUE_OTHERS, procRoot);
}

function has(further: string, procRoot: string): boolean {
  const effective = effectiveCapabilities(procRoot);
  const bits = FURTHER.find(({ name }) => name === further)?.bits ?? [];
  return bits.some((bit) => ((effective >> bit) & 1n) === 1n);
}

/** What this host allows. `native` is null, with the reason, where the addon cannot be loaded. */
export async function examineHost(
  native: Pick<Native, 'features'> | { unavailable: string },
  paths: HostPaths = HOST,
): Promise<HostReport> {
  const findings: Finding[] = [
    machineFinding(arch()),
    ...capabilityFindings(paths.proc),
    ...kernelFindings(paths),
  ];
  if ('unavailable' in native) {
    findings.push({
      name: 'addon',
      state: 'missing',
      detail: native.unavailable,
      remedy: 'npm run setup',
    });
  } else {
    findings.push(...(await featureFindings(native, paths.proc)));
  }
  return {
    kernel: release(),
    machine: arch(),
    node: process.version,
    ready: findings.every(({ state }) => state !== 'missing'),
    findings,
  };
}

function machineFinding(machine: string): Finding {
  return machine === 'x64'
    ? { name: 'machine', state: 'ok', detail: 'x86-64' }
    : {
        name: 'machine',
        state: 'missing',
        detail: `${machine}: probes are planned for x86-64 only`,
      };
}

function capabilityFindings(procRoot: string): Finding[] {
  const missing = missingCapabilities(procRoot);
  const findings: Finding[] = CAPABILITIES.map(({ name, gives }) => ({
    name,
    state: missing.includes(name) ? 'missing' : 'ok',
    detail: missing.includes(name) ? `needed for ${gives}` : gives,
  }));
  const [first] = findings.filter(({ state }) => state === 'missing');
  if (first) first.remedy = `run as root, or grant all of them: ${missing.join(', ')}`;
  findings.push(...furtherFindings(procRoot));
  if (!inInitialUserNamespace(procRoot)) {
    findings.push({
      name: 'user namespace',
      state: 'missing',
      detail: 'capabilities of a user namespace are not valid for the kernel',
      remedy: 'run in the initial user namespace (a rootful container)',
    });
  }
  return findings;
}

function furtherFindings(procRoot: string): Finding[] {
  return FURTHER.map(({ name, gives, without }) =>
    has(name, procRoot)
      ? { name, state: 'ok', detail: gives }
      : { name, state: 'limited', detail: without, remedy: `grant ${name}` },
  );
}

function kernelFindings({ proc, sys }: HostPaths): Finding[] {
  return [
    {
      name: 'uprobes',
      ...(existsSync(join(sys, 'bus/event_source/devices/uprobe/type'))
        ? { state: 'ok' as const, detail: 'functions of user programs' }
        : {
            state: 'missing' as const,
            detail: 'functions of user programs cannot be probed',
            remedy: 'a kernel with CONFIG_UPROBE_EVENTS, and /sys mounted',
          }),
    },
    lockdownFinding(sys),
    seccompFinding(proc),
    paranoidFinding(proc),
    pidNamespaceFinding(proc),
    mountFinding(proc, 'tracefs', '/sys/kernel/tracing', 'lists of tracepoints'),
    mountFinding(proc, 'bpf', '/sys/fs/bpf', 'pinning of maps'),
  ];
}

function lockdownFinding(sys: string): Finding {
  const text = read(join(sys, 'kernel/security/lockdown'));
  const mode = text === null ? null : (/\[(\w+)\]/.exec(text)?.[1] ?? null);
  if (mode === 'confidentiality') {
    return {
      name: 'lockdown',
      state: 'missing',
      detail: 'confidentiality: BPF programs may not read memory',
      remedy: 'boot with lockdown=integrity or lockdown=none',
    };
  }
  return {
    name: 'lockdown',
    state: 'ok',
    detail: mode === null ? 'not in use, or securityfs is not mounted' : mode,
  };
}

function seccompFinding(proc: string): Finding {
  const mode = statusField(proc, 'Seccomp');
  return mode === '2'
    ? {
        name: 'seccomp',
        state: 'limited',
        detail: 'a filter is in force; it may refuse bpf(2) and perf_event_open(2)',
        remedy: 'in a container: --security-opt seccomp=unconfined, or a profile with both',
      }
    : { name: 'seccomp', state: 'ok', detail: 'no filter' };
}

function paranoidFinding(proc: string): Finding {
  const value = read(join(proc, 'sys/kernel/perf_event_paranoid'))?.trim() ?? 'unknown';
  const lacks = missingCapabilities(proc).includes('CAP_PERFMON');
  return {
    name: 'perf_event_paranoid',
    state: lacks ? 'limited' : 'ok',
    detail: lacks ? `${value}: holds for whom CAP_PERFMON is missing` : `${value}, not in the way`,
  };
}

function pidNamespaceFinding(proc: string): Finding {
  let namespace: string | null = null;
  try {
    namespace = readlinkSync(join(proc, 'self/ns/pid'));
  } catch {
    // Some containers hide it: then nothing is known.
  }
  return namespace === null || namespace === INITIAL_PID_NAMESPACE
    ? { name: 'PID namespace', state: 'ok', detail: "the host's: all processes are seen" }
    : {
        name: 'PID namespace',
        state: 'limited',
        detail: 'its own: processes outside of it are not seen',
        remedy: 'in a container: --pid=host (Kubernetes: hostPID: true)',
      };
}

/** By the list of mounts: a mount point may be closed to this user. */
function mountFinding(proc: string, type: string, at: string, gives: string): Finding {
  const name = type === 'bpf' ? 'bpffs' : type;
  return (read(join(proc, 'self/mountinfo')) ?? '').includes(` - ${type} `)
    ? { name, state: 'ok', detail: gives }
    : {
        name,
        state: 'limited',
        detail: `not mounted: no ${gives}; tracing functions does without`,
        remedy: `mount -t ${type} ${type} ${at}`,
      };
}

function effectiveCapabilities(procRoot: string): bigint {
  const text = statusField(procRoot, 'CapEff') ?? '';
  return /^[0-9a-f]{1,16}$/.test(text) ? BigInt(`0x${text}`) : 0n;
}

function inInitialUserNamespace(procRoot: string): boolean {
  const map = read(join(procRoot, 'self/uid_map'));
  return map === null || /^\s*0\s+0\s+4294967295\s*$/.test(map);
}

function statusField(procRoot: string, name: string): string | undefined {
  const status = read(join(procRoot, 'self/status')) ?? '';
  return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1];
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
