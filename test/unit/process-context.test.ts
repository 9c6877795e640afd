import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { after, describe, test } from 'node:test';

import type { Selection } from '../../src/engine.js';
import { ProcessResources } from '../../src/session/resources.js';
import { decide, type Fit, type TraceRule } from '../../src/session/rule.js';
import { decodeContext, readProcessContext } from '../../src/targets/process-context.js';
import { Procfs } from '../../src/targets/procfs.js';
import { fits, mayFitSoon } from '../../src/targets/select.js';
import { readTarget, type Target } from '../../src/targets/target.js';
import { buildProcessContext } from '../tools/native-context.js';
import { requireCommands } from '../tools/require.js';

const folder = mkdtempSync(join(tmpdir(), 'underspan-context-'));
after(() => rmSync(folder, { recursive: true }));

const PID = 7;
const HEADER = 4096;
const PAYLOAD = 8192;

/** Fields of a protobuf message that have a length. */
const message = (...fields: [number, Buffer | string][]): Buffer =>
  Buffer.concat(
    fields.flatMap(([number, content]) => {
      const bytes = Buffer.from(content);
      return [varint(BigInt(number << 3) | 2n), varint(BigInt(bytes.length)), bytes];
    }),
  );

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  for (; value > 0x7fn; value >>= 7n) bytes.push(Number(value & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(value)]);
}

const number = (field: number, value: bigint): Buffer =>
  Buffer.concat([varint(BigInt(field << 3)), varint(value)]);

const text = (value: string): Buffer => message([1, value]);
const pair = (name: string, value: Buffer): [number, Buffer] => [1, message([1, name], [2, value])];
const context = (...pairs: [number, Buffer][]): Buffer =>
  message([1, message(...pairs)], [2, message([1, 'threadlocal.schema_version'], [2, text('v')])]);

interface Published {
  name?: string;
  signature?: string;
  version?: number;
  publishedAt?: bigint;
  payload?: Buffer;
  size?: number;
  at?: bigint;
}

/** A /proc with one process that publishes this. */
function procfsWith(published: Published | null, environment = ''): Procfs {
  const process = join(folder, String(PID));
  mkdirSync(process, { recursive: true });
  const memory = Buffer.alloc(16_384);
  const payload = published?.payload ?? Buffer.alloc(0);
  if (published) memory.write(published.signature ?? 'OTEL_CTX', HEADER, 'latin1');
  memory.writeUInt32LE(published?.version ?? 2, HEADER + 8);
  memory.writeUInt32LE(published?.size ?? payload.length, HEADER + 12);
  memory.writeBigUInt64LE(published?.publishedAt ?? 5n, HEADER + 16);
  memory.writeBigUInt64LE(published?.at ?? BigInt(PAYLOAD), HEADER + 24);
  payload.copy(memory, PAYLOAD);
  writeFileSync(join(process, 'mem'), memory);
  const name = published?.name ?? '/memfd:OTEL_CTX (deleted)';
  const mappings = ['00400000-00401000 r-xp 00000000 fe:00 12                         /bin/shop'];
  if (published) {
    mappings.push(`00001000-00002000 rw-p 00000000 00:01 34                         ${name}`);
  }
  writeFileSync(join(process, 'maps'), `${mappings.join('\n')}\n`);
  writeFileSync(join(process, 'environ'), environment);
  writeFileSync(join(process, 'comm'), 'shop\n');
  const started = Math.round((uptime() - 5) * 100);
  writeFileSync(join(process, 'stat'), `7 (shop) S 1 ${'0 '.repeat(17)}${started} 0\n`);
  return new Procfs(folder);
}

const attributesOf = (published: Published): Record<string, unknown> | undefined =>
  readProcessContext(PID, procfsWith(published))?.attributes;

const SHOP = context(pair('service.name', text('shop')), pair('service.version', text('1')));

describe('what a process publishes', () => {
  for (const name of [
    '/memfd:OTEL_CTX (deleted)',
    '/memfd:OTEL_CTX',
    '[anon:OTEL_CTX]',
    '[anon_shmem:OTEL_CTX]',
  ]) {
    test(`is found by ${name}`, () => {
      assert.deepEqual(
        { ...attributesOf({ name, payload: SHOP }) },
        { 'service.name': 'shop', 'service.version': '1' },
      );
    });
  }

  test('has values of every kind that a resource may have', () => {
    const double = Buffer.alloc(9, 0);
    double[0] = (4 << 3) | 1;
    double.writeDoubleLE(2.5, 1);
    const list = (...elements: Buffer[]): Buffer =>
      message([5, message(...elements.map((each): [number, Buffer] => [1, each]))]);
    const payload = context(
      pair('text', text('')),
      pair('yes', number(2, 1n)),
      pair('count', number(3, BigInt.asUintN(64, -5n))),
      pair('share', double),
      pair('list', list(text('a'), text('b'))),
      pair('numbers', list(number(3, 1n), number(3, 2n))),
      pair('mixed', list(text('a'), number(3, 2n))),
      pair('map', message([6, ''])),
      pair('bytes', message([7, 'x'])),
      pair('nothing', Buffer.alloc(0)),
      pair('__proto__', text('plain')),
    );
    assert.deepEqual(Object.entries(attributesOf({ payload }) ?? {}), [
      ['text', ''],
      ['yes', true],
      ['count', -5],
      ['share', 2.5],
      ['list', ['a', 'b']],
      ['numbers', [1, 2]],
      ['__proto__', 'plain'],
    ]);
  });

  const broken: [string, Published][] = [
    ['under another name', { name: '/memfd:OTHER_OTEL_CTX', payload: SHOP }],
    ['without the signature', { signature: 'OTEL_CTY', payload: SHOP }],
    ['of another version', { version: 1, payload: SHOP }],
    ['while it is being changed', { publishedAt: 0n, payload: SHOP }],
    ['that is too large', { size: 65_537, payload: SHOP }],
    ['outside the memory', { at: 1n << 40n, payload: SHOP }],
    ['at an address that is none', { at: (1n << 64n) - 1n, payload: SHOP }],
    ['that is cut off', { size: SHOP.length - 1, payload: SHOP }],
    ['that is no message', { payload: Buffer.from([7, 7, 7]) }],
    [
      'with too many attributes',
      { payload: context(...Array.from({ length: 257 }, (_, i) => pair(`k${i}`, text('')))) },
    ],
    ['with a text that is too long', { payload: context(pair('k', text('x'.repeat(4097)))) }],
  ];
  for (const [how, published] of broken) {
    test(`is not read ${how}`, () => {
      assert.equal(readProcessContext(PID, procfsWith(published)), null);
    });
  }

  test('may be anything: what comes of it is an error or an answer', () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return seed % below;
    };
    for (let round = 0; round < 20_000; round++) {
      const changed = Buffer.from(SHOP);
      for (let i = random(4); i >= 0; i--) changed[random(changed.length)] = random(256);
      try {
        decodeContext(changed.subarray(0, changed.length - random(3)));
      } catch (error) {
        assert.ok(error instanceof Error);
      }
    }
  });

  test('is the same until it is published anew', () => {
    const first = readProcessContext(PID, procfsWith({ payload: SHOP }));
    assert.ok(first);
    const other = context(pair('service.name', text('other')));
    // The time alone says that it is another.
    assert.equal(readProcessContext(PID, procfsWith({ payload: other }), first), first);
    assert.equal(readProcessContext(PID, procfsWith({ publishedAt: 0n }), first), first);
    const second = readProcessContext(PID, procfsWith({ payload: other, publishedAt: 6n }), first);
    assert.equal(second?.attributes['service.name'], 'other');
  });
});

describe('whose spans those of a process are', () => {
  const ENVIRONMENT = 'OTEL_SERVICE_NAME=by-environment\0OTEL_RESOURCE_ATTRIBUTES=team=red\0';
  let nowMs = 0;
  const resources = (procfs: Procfs): ProcessResources =>
    new ProcessResources({
      procfs,
      target: () => ({ pid: PID, exe: '/bin/shop', fileId: '1:2', argv: ['shop'] }) as Target,
      plan: () => null,
      onNotice: (notice) => assert.fail(notice.message),
      now: () => nowMs,
    });

  test('is what it publishes, and not what its environment says', () => {
    const known = resources(procfsWith({ payload: SHOP }, ENVIRONMENT));
    assert.deepEqual(known.of(PID).attributes, { 'service.name': 'shop', 'service.version': '1' });
  });

  test('is what its environment says if it publishes no resource', () => {
    const known = resources(procfsWith({ payload: context() }, ENVIRONMENT));
    assert.deepEqual(
      { ...known.of(PID).attributes },
      { 'service.name': 'by-environment', team: 'red' },
    );
  });

  test('is looked at again, less and less often', () => {
    const known = resources(procfsWith(null, ENVIRONMENT));
    const before = known.of(PID);
    assert.equal(before.attributes['service.name'], 'by-environment');
    procfsWith({ payload: SHOP }, ENVIRONMENT);
    nowMs += 999;
    assert.equal(known.of(PID), before);
    nowMs += 1;
    const published = known.of(PID);
    assert.equal(published.attributes['service.name'], 'shop');
    assert.equal(before.attributes['service.name'], 'by-environment');
    procfsWith({ payload: context(pair('service.name', text('b'))), publishedAt: 6n });
    nowMs += 1_999;
    assert.equal(known.of(PID), published);
    nowMs += 1;
    const changed = known.of(PID);
    assert.deepEqual(changed.attributes, { 'service.name': 'b' });
    // Withdrawn, as when its SDK shuts down.
    procfsWith(null, ENVIRONMENT);
    nowMs += 4_000;
    assert.equal(known.of(PID), changed);
  });
});

describe('which process a service is', () => {
  const SERVICE: Selection = {
    pids: [],
    exes: [],
    comms: [],
    containers: [],
    services: ['shop'],
    command: null,
    waitMs: 0,
  };

  test('is what it publishes, before what its environment says', () => {
    assert.ok(fits(SERVICE, PID, procfsWith({ payload: SHOP }, 'OTEL_SERVICE_NAME=other\0')));
    const other = context(pair('service.name', text('other')));
    assert.ok(!fits(SERVICE, PID, procfsWith({ payload: other }, 'OTEL_SERVICE_NAME=shop\0')));
    assert.ok(fits(SERVICE, PID, procfsWith({ payload: context() }, 'OTEL_SERVICE_NAME=shop\0')));
  });

  test('may be told yet while the process is young', () => {
    const procfs = procfsWith(null);
    assert.ok(mayFitSoon(SERVICE, PID, procfs));
    assert.ok(!mayFitSoon({ ...SERVICE, services: [] }, PID, procfs));
    assert.ok(!mayFitSoon({ ...SERVICE, comms: ['other'] }, PID, procfs));
    writeFileSync(procfs.path(PID, 'stat'), `7 (shop) S 1 ${'0 '.repeat(17)}0 0\n`);
    assert.ok(!mayFitSoon(SERVICE, PID, procfs));
  });

  test('does not keep a process from a rule that it falls under already', () => {
    const rule = (name: string, fit: Fit): TraceRule =>
      ({ name, fits: () => fit, reach: () => 'some' }) as unknown as TraceRule;
    const later = rule('later', 'yes');
    const target = { pid: PID } as Target;
    assert.equal(decide([rule('soon', 'not yet')], target), 'unknown');
    assert.equal(decide([rule('soon', 'not yet'), rule('no', 'no')], target), 'unknown');
    assert.deepEqual(decide([rule('soon', 'not yet'), later], target), {
      rule: later,
      whole: false,
    });
  });
});

test('a program publishes, changes and withdraws, and its child has nothing', async (t) => {
  if (!requireCommands(t, ['gcc'])) return;
  const { path } = await buildProcessContext();
  const child = spawn(path, ['first', 'second'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  try {
    await once(child, 'spawn');
    assert.ok(child.pid);
    const { pid } = child;
    const said = saying(child, lines);
    const procfs = new Procfs();
    await said('not yet');
    assert.equal(readProcessContext(pid, procfs), null);
    const forked = await said(/^child (\d+)$/, true);
    await said('first');
    const first = readProcessContext(pid, procfs);
    assert.deepEqual(
      { ...first?.attributes },
      { 'service.name': 'first', 'service.instance.id': 'made-at-run-time' },
    );
    assert.equal(readTarget(Number(forked), procfs).comm, 'program');
    assert.equal(readProcessContext(Number(forked), procfs), null);
    await said('second', true);
    const second = readProcessContext(pid, procfs, first);
    assert.equal(second?.attributes['service.name'], 'second');
    await said('withdrawn', true);
    assert.equal(readProcessContext(pid, procfs, second), null);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

/** Waits until the program says this, after a line to it if it is to be asked. */
function saying(
  child: ChildProcess,
  lines: Interface,
): (what: string | RegExp, ask?: boolean) => Promise<string> {
  const iterator = lines[Symbol.asyncIterator]();
  return async (what, ask = false) => {
    if (ask) child.stdin?.write('\n');
    const line = await iterator.next();
    const value = line.done ? 'its end' : line.value;
    const found = new RegExp(what).exec(value);
    assert.ok(found, `${value} is not ${String(what)}`);
    return found[1] ?? '';
  };
}
