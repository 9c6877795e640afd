import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { examineHost, type HostReport, missingCapabilities } from '../../src/native/host.js';
import type { Features, Native } from '../../src/native/native.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-doctor-'));
after(() => rmSync(directory, { recursive: true }));

const ALL: Features = {
  btf: true,
  ringBuffer: true,
  cookies: true,
  uprobeMulti: true,
  uprobeMultiThreads: true,
  uprobeSession: true,
  sleepable: true,
  atomics: true,
  findsMappings: true,
  writesRegisters: true,
  runTimeStatistics: true,
  kprobes: true,
  kprobeMulti: true,
  fentry: true,
};

const nativeWith = (features: Partial<Features>): Native =>
  ({ features: async () => ({ ...ALL, ...features }) }) as unknown as Native;

const TRACEFS = '31 24 0:12 / /sys/kernel/tracing rw - tracefs tracefs rw\n';
const MOUNTS = `30 24 0:27 / /sys/fs/bpf rw - bpf bpf rw\n${TRACEFS}`;

const ROOT = '000001ffffffffff';

interface Host {
  capabilities?: string;
  seccomp?: number;
  uidMap?: string;
  lockdown?: string;
  pidNamespace?: string;
  mounts?: string;
  uprobes?: boolean;
}

let hosts = 0;
function fakeHost(host: Host = {}): { proc: string; sys: string } {
  const root = join(directory, `host${hosts++}`);
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  write(
    'proc/self/status',
    `Name:\tnode\nCapEff:\t${host.capabilities ?? ROOT}\nSeccomp:\t${host.seccomp ?? 0}\n`,
  );
  write('proc/self/uid_map', host.uidMap ?? '         0          0 4294967295\n');
  write('proc/self/mountinfo', host.mounts ?? MOUNTS);
  write('proc/sys/kernel/perf_event_paranoid', '2\n');
  write('sys/kernel/security/lockdown', host.lockdown ?? 'none [integrity] confidentiality\n');
  if (host.uprobes !== false) write('sys/bus/event_source/devices/uprobe/type', '7\n');
  mkdirSync(join(root, 'proc/self/ns'));
  symlinkSync(host.pidNamespace ?? 'pid:[4026531836]', join(root, 'proc/self/ns/pid'));
  return { proc: join(root, 'proc'), sys: join(root, 'sys') };
}

const states = (report: HostReport): Record<string, string> =>
  Object.fromEntries(
    report.findings
      .filter(({ name, state }) => state !== 'ok' && name !== 'machine')
      .map(({ name, state }) => [name, state]),
  );

const remedy = (report: HostReport, name: string): string =>
  report.findings.find((finding) => finding.name === name)?.remedy ?? '';

test('a host that allows everything', async () => {
  assert.deepEqual(states(await examineHost(nativeWith({}), fakeHost())), {});
});

test('all missing capabilities are named at once', async () => {
  const host = fakeHost({ capabilities: '0000000000000000' });
  assert.deepEqual(missingCapabilities(host.proc), ['CAP_BPF', 'CAP_PERFMON', 'CAP_SYS_PTRACE']);
  const report = await examineHost(nativeWith({}), host);
  assert.equal(report.ready, false);
  assert.match(remedy(report, 'CAP_BPF'), /CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE/);
  assert.equal(states(report)['perf_event_paranoid'], 'limited');
});

test('capabilities are enough without root, and CAP_SYS_ADMIN stands for two', () => {
  const bits = (...numbers: number[]): string =>
    numbers
      .reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n)
      .toString(16)
      .padStart(16, '0');
  const missing = (capabilities: string): string[] =>
    missingCapabilities(fakeHost({ capabilities }).proc);
  assert.deepEqual(missing(bits(39, 38, 19)), []);
  assert.deepEqual(missing(bits(21)), ['CAP_SYS_PTRACE']);
  assert.deepEqual(missing(bits(39)), ['CAP_PERFMON', 'CAP_SYS_PTRACE']);
  assert.deepEqual(missing('garbage').length, 3);
});

test('what more capabilities would give is named, and tracing does without', async () => {
  const cases: [bigint, string, RegExp][] = [
    [5n, 'CAP_KILL', /hold: true/],
    [28n, 'CAP_LEASE', /wait/],
  ];
  for (const [bit, name, expected] of cases) {
    const capabilities = (BigInt(`0x${ROOT}`) & ~(1n << bit)).toString(16).padStart(16, '0');
    const report = await examineHost(nativeWith({}), fakeHost({ capabilities }));
    assert.deepEqual(states(report), { [name]: 'limited' });
    assert.match(report.findings.find((finding) => finding.name === name)?.detail ?? '', expected);
    assert.match(remedy(report, name), new RegExp(`grant ${name}`));
    assert.equal(report.ready, true);
  }
});

test('what stands in the way is named', async () => {
  const cases: [Host, Record<string, string>][] = [
    [{ lockdown: 'none integrity [confidentiality]\n' }, { lockdown: 'missing' }],
    [{ seccomp: 2 }, { seccomp: 'limited' }],
    [{ uidMap: '0 1000 65536\n' }, { 'user namespace': 'missing' }],
    [{ pidNamespace: 'pid:[4026532200]' }, { 'PID namespace': 'limited' }],
    [{ uprobes: false }, { uprobes: 'missing' }],
    [{ mounts: TRACEFS }, { bpffs: 'limited' }],
  ];
  for (const [host, expected] of cases) {
    const report = await examineHost(nativeWith({}), fakeHost(host));
    assert.deepEqual(states(report), expected);
    const [name = ''] = Object.keys(expected);
    assert.notEqual(remedy(report, name), '', name);
    assert.equal(report.ready, !Object.values(expected).includes('missing'));
  }
});

test('features of the kernel are needed, or make a difference', async () => {
  const old = await examineHost(
    nativeWith({ uprobeMulti: false, cookies: false, sleepable: false }),
    fakeHost(),
  );
  assert.equal(old.ready, true);
  assert.deepEqual(states(old), {
    'probe cookies': 'limited',
    uprobe_multi: 'limited',
    'sleepable probes': 'limited',
  });
  const older = await examineHost(nativeWith({ ringBuffer: false }), fakeHost());
  assert.deepEqual(states(older), { 'BPF ring buffer': 'limited' });
  const others = await examineHost(nativeWith({ btf: false }), fakeHost());
  assert.equal(others.ready, false);
});

test('a kernel that refuses to be asked is a finding, not a failure', async () => {
  const native = {
    features: async () => {
      throw new Error('Operation not permitted');
    },
  } as unknown as Native;
  const report = await examineHost(native, fakeHost());
  assert.deepEqual(states(report), { 'kernel features': 'missing' });
});
