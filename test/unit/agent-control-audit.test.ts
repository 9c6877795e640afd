import assert from 'node:assert/strict';
import {
  chmodSync,
  constants,
  openSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import {
  ask,
  type Control,
  Lines,
  localPeer,
  SPAN,
  withControl,
  WISHES,
} from '../tools/control.js';

const who = {
  who: `uid ${localPeer().uid}`,
  peer: `socket, pid ${localPeer().pid}`,
};

async function runOnce({ socket, engine }: Control): Promise<string> {
  const lines = await Lines.open(socket, { ...WISHES, args: ['order'], durationMs: 5_000 });
  const { id } = await lines.next();
  const { sink, end } = await engine.trace(engine.traces.length - 1);
  sink.spans([SPAN, SPAN]);
  end();
  await lines.rest();
  // It is written after the answer.
  while (((await ask(socket, 'GET', '/v1/sessions')).body['sessions'] as []).length > 0);
  return String(id);
}

const records = (file: string): Record<string, unknown>[] =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('every session leaves a line as it starts and one as it ends', async () => {
  await withControl({}, async (control) => {
    const id = await runOnce(control);
    const [start, end, ...none] = records(control.auditLog);
    assert.deepEqual(none, []);
    const { time, ...started } = start ?? {};
    assert.ok(Date.parse(String(time)) > 0);
    assert.deepEqual(started, {
      ...{ event: 'session-start', id, ...who },
      selection: {
        ...{ pids: [42], exes: [], comms: [], containers: [], services: [] },
        ...{ command: null, waitMs: 0 },
      },
      ...{ symbols: ['main.*'], exclude: [], args: ['order'], returns: false, stack: false },
      ...{ by: null, redact: [], durationMs: 5_000 },
    });
    const { time: ending, durationMs, ...ended } = end ?? {};
    assert.deepEqual([typeof ending, typeof durationMs], ['string', 'number']);
    assert.deepEqual(ended, {
      ...{ event: 'session-end', id, ...who, reason: 'its processes ended', spans: 2 },
    });
    assert.equal(statSync(control.auditLog).mode & 0o777, 0o600);
    await runOnce(control);
    assert.equal(records(control.auditLog).length, 4, 'it is appended to');
  });
});

test('why a session ended is told', async () => {
  await withControl({}, async ({ socket, engine, auditLog }) => {
    engine.failure = new UnderspanError('not-found', 'NOTHING_FITS', 'no process fits');
    await ask(socket, 'POST', '/v1/sessions', WISHES);
    assert.equal(records(auditLog)[1]?.['reason'], 'it failed: no process fits');
    engine.failure = null;
    const lines = await Lines.open(socket, WISHES);
    const { id } = await lines.next();
    const rest = lines.rest();
    await ask(socket, 'DELETE', `/v1/sessions/${String(id)}`);
    await rest;
    assert.equal(
      records(auditLog)[3]?.['reason'],
      `the session was stopped by ${who.who} (${who.peer})`,
    );
  });
});

test('without a file the records go to the log', async () => {
  await withControl({ auditLog: null }, async (control) => {
    const id = await runOnce(control);
    const audited = control.log.filter(({ object }) => 'audit' in object);
    assert.deepEqual(
      audited.map(({ level, message, object }) => [
        ...[level, message, (object['audit'] as { id: string }).id],
      ]),
      [
        ['warn', 'session-start', id],
        ['warn', 'session-end', id],
      ],
    );
  });
});

test('no session starts that cannot be audited', async () => {
  const brief = { ...WISHES, durationMs: 50 };
  const spoilt: Record<string, (file: string, folder: string) => void> = {
    'a symbolic link': (file, folder) => {
      writeFileSync(join(folder, 'precious'), '');
      symlinkSync(join(folder, 'precious'), file);
    },
    'a directory': (file) => mkdirSync(file),
    'a pipe': (file) => void execFileSync('mkfifo', [file]),
    'a pipe that is read': (file) => {
      execFileSync('mkfifo', [file]);
      openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    },
    'writable by others': (file) => {
      writeFileSync(file, '');
      chmodSync(file, 0o666);
    },
  };
  for (const [what, spoil] of Object.entries(spoilt)) {
    await withControl({}, async ({ socket, engine, auditLog, folder }) => {
      spoil(auditLog, folder);
      const { status, body } = await ask(socket, 'POST', '/v1/sessions', brief);
      assert.deepEqual([status, body.error?.code], [500, 'AUDIT_FAILED'], what);
      assert.deepEqual(engine.traces, [], what);
      const precious = join(folder, 'precious');
      if (existsSync(precious)) assert.equal(readFileSync(precious, 'utf8'), '');
      assert.deepEqual((await ask(socket, 'GET', '/v1/sessions')).body, { sessions: [] });
    });
  }
});
