import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Selection } from '../../src/engine.js';
import { UnderspanError } from '../../src/errors.js';
import { interpreterOf, resolveExecutable } from '../../src/targets/executable.js';
import { launch } from '../../src/targets/launch.js';
import { containerOf } from '../../src/targets/cgroup.js';
import { Procfs } from '../../src/targets/procfs.js';
import { parseAttributes, readResource } from '../../src/targets/resource.js';
import { fits, selectTargets } from '../../src/targets/select.js';
import { isRunning, readTarget } from '../../src/targets/target.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-targets-'));
after(() => rmSync(directory, { recursive: true }));

interface FakeProcess {
  comm?: string;
  state?: string;
  flags?: number;
  startTime?: number;
  group?: number;
  exe?: string | null;
  argv?: string[];
  environment?: string[];
  cgroup?: string;
}

const shop = join(directory, 'shop');
writeFileSync(shop, '\x7fELF');

let roots = 0;
function fakeProc(processes: Record<number, FakeProcess>): Procfs {
  const root = join(directory, `proc${roots++}`);
  mkdirSync(root);
  mkdirSync(join(root, 'sys'));
  for (const [pid, fake] of Object.entries(processes)) addProcess(root, Number(pid), fake);
  return new Procfs(root);
}

function addProcess(root: string, pid: number, fake: FakeProcess): void {
  const at = join(root, String(pid));
  const { comm = 'shop', state = 'S', flags = 0x400000, startTime = 1000 + pid } = fake;
  // Complete before it is there, since a waiting selection may look at any time.
  const building = `${at}.new`;
  mkdirSync(building);
  const zeros = '0 '.repeat(12);
  writeFileSync(
    join(building, 'stat'),
    `${pid} (${comm}) ${state} 1 1 1 0 -1 ${flags} ${zeros}${startTime} 0 0\n`,
  );
  writeFileSync(join(building, 'status'), `Name:\t${comm}\nTgid:\t${fake.group ?? pid}\n`);
  writeFileSync(join(building, 'cmdline'), (fake.argv ?? ['./shop']).map((a) => `${a}\0`).join(''));
  writeFileSync(
    join(building, 'environ'),
    (fake.environment ?? []).map((line) => `${line}\0`).join(''),
  );
  writeFileSync(join(building, 'cgroup'), fake.cgroup ?? '0::/system.slice/shop.service\n');
  if (fake.exe !== null) symlinkSync(fake.exe ?? shop, join(building, 'exe'));
  rmSync(at, { recursive: true, force: true });
  symlinkSync(building, at);
}

const selection = (parts: Partial<Selection>): Selection => ({
  pids: [],
  exes: [],
  comms: [],
  containers: [],
  services: [],
  command: null,
  waitMs: 0,
  ...parts,
});

const pidsOf = async (procfs: Procfs, parts: Partial<Selection>): Promise<number[]> =>
  (await selectTargets(selection(parts), { procfs })).map(({ pid }) => pid);

const failure =
  (kind: string, code: string, message: RegExp, hint?: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof UnderspanError, String(error));
    assert.deepEqual([error.kind, error.code], [kind, code]);
    assert.match(error.message, message);
    if (hint) assert.match(error.hint ?? '', hint);
    return true;
  };

test('a target is read from /proc', () => {
  const procfs = fakeProc({ 42: { comm: 'a) (b', argv: ['./shop', '-x', ''] } });
  const target = readTarget(42, procfs);
  assert.deepEqual(
    { ...target, fileId: undefined },
    {
      pid: 42,
      startTime: 1042,
      comm: 'a) (b',
      exe: shop,
      file: join(procfs.root, '42/exe'),
      fileId: undefined,
      argv: ['./shop', '-x', ''],
    },
  );
  assert.match(target.fileId, /^\d+:\d+$/);
});

test('this process is a target too', () => {
  const target = readTarget(process.pid, new Procfs());
  assert.equal(target.exe, readlinkSync('/proc/self/exe'));
  assert.ok(isRunning(target, new Procfs()));
});

test('a process runs as long as one of its threads does', () => {
  const running = fakeProc({ 42: {} });
  const target = readTarget(42, running);
  const ended = fakeProc({ 42: { state: 'Z' } });
  assert.ok(!isRunning(target, ended));
  const addThread = (tid: number, state: string): void => {
    const folder = join(ended.path(42, 'task'), String(tid));
    mkdirSync(folder, { recursive: true });
    writeFileSync(
      join(folder, 'stat'),
      `${tid} (shop) ${state} 1 1 1 0 -1 0 ${'0 '.repeat(12)}9 0 0`,
    );
  };
  addThread(42, 'Z');
  addThread(43, 'X');
  assert.ok(!isRunning(target, ended));
  addThread(44, 'R');
  assert.ok(isRunning(target, ended));
});

test('a reused pid is another target', () => {
  const procfs = fakeProc({ 42: { startTime: 5 } });
  const target = readTarget(42, procfs);
  assert.ok(isRunning(target, procfs));
  assert.ok(!isRunning({ ...target, startTime: 4 }, procfs));
  assert.ok(!isRunning({ ...target, pid: 43 }, procfs));
});

test('kinds combine, values of a kind are alternatives', async () => {
  const container = 'ab'.repeat(32);
  const procfs = fakeProc({
    10: { comm: 'shop' },
    11: { comm: 'shop', environment: ['OTEL_SERVICE_NAME=cart'] },
    12: { comm: 'stock', cgroup: `0::/system.slice/docker-${container}.scope\n` },
    13: { comm: 'averylongprogra' },
    14: { comm: 'shop', state: 'Z' },
    2: { comm: 'kthreadd', flags: 0x208040, exe: null },
  });
  assert.deepEqual(await pidsOf(procfs, { comms: ['shop'] }), [10, 11]);
  assert.deepEqual(await pidsOf(procfs, { comms: ['shop', 'stock'] }), [10, 11, 12]);
  assert.deepEqual(await pidsOf(procfs, { comms: ['averylongprogram-name'] }), [13]);
  assert.deepEqual(await pidsOf(procfs, { services: ['cart'], comms: ['shop'] }), [11]);
  assert.deepEqual(await pidsOf(procfs, { exes: [shop], comms: ['stock'] }), [12]);
  assert.deepEqual(await pidsOf(procfs, { containers: [container.slice(0, 12)] }), [12]);
  assert.deepEqual(await pidsOf(procfs, { pids: [10, 12] }), [10, 12]);
  assert.ok(fits(selection({ comms: ['shop'] }), 11, procfs));
  assert.ok(!fits(selection({ comms: ['shop'] }), 12, procfs));
  assert.ok(!fits(selection({ comms: ['shop'] }), 99, procfs));
});

test('what cannot be a target is refused with the reason', async () => {
  const procfs = fakeProc({
    2: { comm: 'kthreadd', flags: 0x208040, exe: null },
    50: { state: 'Z' },
    60: {},
    61: { comm: 'worker', group: 60 },
  });
  const refused = (pid: number, ...expected: Parameters<typeof failure>): Promise<void> =>
    assert.rejects(pidsOf(procfs, { pids: [pid] }), failure(...expected));
  await refused(999, 'not-found', 'NO_SUCH_PROCESS', /no process 999/);
  await refused(2, 'unsupported', 'KERNEL_THREAD', /2 \(kthreadd\) is a thread of the kernel/);
  await refused(50, 'not-found', 'PROCESS_ENDED', /50 \(shop\) has ended/);
  await refused(61, 'not-found', 'IS_THREAD', /thread of process 60/, /--pid 60/);
  await refused(0, 'usage', 'PID_INVALID', /0 cannot be/);
  await assert.rejects(
    pidsOf(procfs, { pids: [60, 999] }),
    failure('not-found', 'NO_SUCH_PROCESS', /999/),
  );
  await assert.rejects(
    pidsOf(procfs, { pids: [60], comms: ['stock'] }),
    failure('not-found', 'NOTHING_FITS', /pid 60 and comm stock/, /all kinds/),
  );
});

test('a process of another user is not permitted', async () => {
  const procfs = fakeProc({ 60: {} });
  const denied = new (class extends Procfs {
    override exe(): string {
      throw Object.assign(new Error('denied'), { code: 'EACCES' });
    }
  })(procfs.root);
  await assert.rejects(
    pidsOf(denied, { pids: [60] }),
    failure('not-permitted', 'PROCESS_NOT_PERMITTED', /60 \(shop\)/, /CAP_SYS_PTRACE/),
  );
  // Root is denied a few as well: only a missing right makes that the reason.
  mkdirSync(join(procfs.root, 'self'), { recursive: true });
  writeFileSync(join(procfs.root, 'self/status'), 'CapEff:\t000001ffffffffff\n');
  await assert.rejects(
    pidsOf(denied, { exes: ['/usr/bin/nothing'] }),
    failure('not-found', 'NOTHING_FITS', /no process fits/),
  );
  writeFileSync(join(procfs.root, 'self/status'), 'CapEff:\t0000000000000000\n');
  await assert.rejects(
    pidsOf(denied, { exes: ['/usr/bin/nothing'] }),
    failure('not-permitted', 'NOTHING_FITS', /1 could not be looked at/),
  );
});

test('nothing that fits is an error that says what to do', async () => {
  const procfs = fakeProc({ 60: {} });
  const script = join(directory, 'run.sh');
  writeFileSync(script, '#! /bin/sh -e\n');
  const none = (parts: Partial<Selection>, message: RegExp, hint: RegExp): Promise<void> =>
    assert.rejects(pidsOf(procfs, parts), failure('not-found', 'NOTHING_FITS', message, hint));
  await none({ comms: ['cart', 'till'] }, /no process fits comm cart or till$/, /--wait/);
  await none({ exes: [join(directory, 'absent')] }, /exe/, /no file/);
  await none({ exes: [script] }, /run\.sh/, /script.*\/bin\/sh.*--pid/);
  await none({ comms: ['cart'], waitMs: 150 }, /none came/, /wait longer/);
  await assert.rejects(
    pidsOf(procfs, { containers: ['my-container'] }),
    failure('usage', 'CONTAINER_INVALID', /my-container/, /12 digits/),
  );
});

test('it waits for a process that starts later', async () => {
  const procfs = fakeProc({});
  let waiting = '';
  const selecting = selectTargets(selection({ comms: ['late'], waitMs: 10_000 }), {
    procfs,
    onWait: (description) => (waiting = description),
  });
  await sleep(150);
  assert.equal(waiting, 'comm late');
  addProcess(procfs.root, 70, { comm: 'late' });
  assert.deepEqual(
    (await selecting).map(({ pid }) => pid),
    [70],
  );
});

test('waiting can be given up', async () => {
  const controller = new AbortController();
  const selecting = selectTargets(selection({ comms: ['never'], waitMs: Infinity }), {
    procfs: fakeProc({}),
    signal: controller.signal,
  });
  setTimeout(() => controller.abort(), 50);
  await assert.rejects(selecting, failure('not-found', 'NOTHING_FITS', /never/));
});

test('containers are known by their control group', () => {
  const id = '0123456789abcdef'.repeat(4);
  const fargate = `${'ab'.repeat(16)}-1234567890`;
  const cases: [string, string | null][] = [
    [`0::/system.slice/docker-${id}.scope`, id],
    [`0::/../../kubepods.slice/kubepods-burstable.slice/cri-containerd-${id}.scope`, id],
    [`0::/kubepods/burstable/pod6f9e/${id}`, id],
    [`12:memory:/docker/${id}\n1:name=systemd:/docker/${id}`, id],
    [`0::/kubepods.slice/x.slice/k8s:cri-containerd:${id}`, id],
    [`0::/machine.slice/libpod-${id}.scope/container`, id],
    [`0::/machine.slice/libpod-conmon-${id}.scope`, null],
    [`11:cpu:/ecs/${'ab'.repeat(16)}/${fargate}`, fargate],
    ['0::/user.slice/user-0.slice/session-1.scope', null],
    ['0::/', null],
    ['', null],
  ];
  for (const [text, expected] of cases) assert.equal(containerOf(text), expected, text);
});

test('the resource is what the environment says', () => {
  const id = 'cd'.repeat(32);
  const procfs = fakeProc({
    1: {
      environment: [
        'OTEL_RESOURCE_ATTRIBUTES=service.name=a,service.version=1%2E2, region = eu%20west ,broken',
        'OTEL_SERVICE_NAME=cart',
        'PASSWORD=secret',
      ],
    },
    2: { environment: ['OTEL_RESOURCE_ATTRIBUTES=service.name=a'] },
    3: { argv: ['/srv/bin/till', 'x'], cgroup: `0::/docker/${id}\n` },
    4: { argv: [] },
  });
  const attributes = (pid: number) => ({
    ...readResource(readTarget(pid, procfs), procfs).attributes,
  });
  assert.deepEqual(attributes(1), {
    'service.name': 'cart',
    'service.version': '1.2',
    region: 'eu west',
  });
  assert.deepEqual(attributes(2), { 'service.name': 'a' });
  assert.deepEqual(attributes(3), { 'service.name': 'unknown_service:till', 'container.id': id });
  assert.deepEqual(attributes(4), { 'service.name': 'unknown_service:shop' });
});

test('broken resource attributes do no harm', () => {
  assert.deepEqual({ ...parseAttributes('a=%zz,=x,b=1=2,,c=') }, { a: '%zz', b: '1=2', c: '' });
  assert.deepEqual(Object.keys(parseAttributes('__proto__=x')), ['__proto__']);
});

test('a command is found as a shell would', () => {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'plain'), 'text');
  writeFileSync(join(bin, 'tool'), '#!/usr/bin/env node\n');
  chmodSync(join(bin, 'tool'), 0o755);
  assert.equal(resolveExecutable('tool', `/nonexistent:${bin}`), join(bin, 'tool'));
  assert.equal(interpreterOf(join(bin, 'tool')), '/usr/bin/env');
  assert.equal(interpreterOf(join(bin, 'plain')), null);
  assert.equal(interpreterOf(join(bin, 'absent')), null);
  const missing = (name: string, ...expected: Parameters<typeof failure>): void =>
    assert.throws(() => resolveExecutable(name, bin), failure(...expected));
  missing('absent', 'not-found', 'COMMAND_NOT_FOUND', /'absent' in PATH/);
  missing('./absent', 'not-found', 'COMMAND_NOT_FOUND', /'\.\/absent'$/);
  missing('plain', 'not-permitted', 'COMMAND_NOT_EXECUTABLE', /plain is not executable/, /chmod/);
  missing('', 'not-found', 'COMMAND_NOT_FOUND', /''/);
  missing(bin, 'not-found', 'COMMAND_NOT_FOUND', /no command/);
});

test('a command runs only once it is released, as the process that was held', async () => {
  const proof = join(directory, 'proof');
  const command = await launch(['sh', '-c', `echo $$ > ${proof}; exit 7`]);
  await sleep(100);
  assert.ok(!existsSync(proof));
  assert.equal(new Procfs().stat(command.target.pid).startTime, command.target.startTime);
  command.release();
  assert.deepEqual(await command.exited, { code: 7, signal: null });
  assert.equal(Number(readFileSync(proof, 'utf8')), command.target.pid);
  assert.equal(command.script, null);
});

test('a held command can be ended without having run', async () => {
  const proof = join(directory, 'never');
  const command = await launch(['sh', '-c', `touch ${proof}`]);
  command.kill('SIGTERM');
  command.release();
  assert.deepEqual(await command.exited, { code: null, signal: 'SIGTERM' });
  assert.ok(!existsSync(proof));
});

test('of a script the interpreter is the target', async () => {
  const script = join(directory, 'script');
  writeFileSync(script, '#!/bin/sh\nexit 3\n');
  chmodSync(script, 0o755);
  const command = await launch([script]);
  command.release();
  assert.deepEqual([command.target.file, command.script], ['/bin/sh', script]);
  assert.deepEqual(await command.exited, { code: 3, signal: null });
});
