import assert from 'node:assert/strict';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { Native } from '../../src/native/native.js';
import { ask, controlServer, withControl, WISHES } from '../tools/control.js';
import { inFolder } from '../tools/folder.js';

test('the socket is for its owner alone, and gone afterwards', async () => {
  let path = '';
  await withControl({}, async ({ socket }) => {
    path = socket;
    assert.equal(lstatSync(socket).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(socket)).mode & 0o777, 0o755);
  });
  assert.ok(!existsSync(path));
});

test('the socket of an agent that was killed is replaced, that of a live one is not', async () => {
  await inFolder(async (folder) => {
    const control = controlServer(folder);
    mkdirSync(dirname(control.socket));
    // Leaves its socket behind.
    const killed = spawn(process.execPath, [
      '-e',
      'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, 9))',
      control.socket,
    ]);
    await once(killed, 'exit');
    assert.ok(lstatSync(control.socket).isSocket());
    await control.server.start();
    try {
      await assert.rejects(controlServer(folder).server.start(), { code: 'SOCKET_IN_USE' });
      assert.equal((await ask(control.socket, 'GET', '/v1/version')).status, 200);
    } finally {
      await control.server.close('the test is over');
    }
  });
});

test('what is no socket is left alone', async () => {
  await inFolder(async (folder) => {
    const { server, socket } = controlServer(folder);
    mkdirSync(dirname(socket));
    writeFileSync(socket, 'precious');
    await assert.rejects(server.start(), { code: 'SOCKET_UNUSABLE' });
    assert.ok(lstatSync(socket).isFile());
  });
  await inFolder(async (folder) => {
    const { server, socket } = controlServer(folder);
    mkdirSync(dirname(socket));
    const elsewhere = join(folder, 'other.sock');
    const other = createServer().listen(elsewhere);
    await once(other, 'listening');
    symlinkSync(elsewhere, socket);
    await assert.rejects(server.start(), { code: 'SOCKET_UNUSABLE' });
    other.close();
  });
});

test('a directory that others may change is no place for it', async () => {
  await inFolder(async (folder) => {
    const { server, socket } = controlServer(folder);
    mkdirSync(dirname(socket));
    chmodSync(dirname(socket), 0o777);
    await assert.rejects(server.start(), { code: 'SOCKET_UNUSABLE' });
  });
});

test('a peer that is not root is not let in, whatever the mode of the socket', async () => {
  for (const peer of [{ pid: 1, uid: 12_345 }, null]) {
    const native = { peerCredentials: () => peer } as unknown as Native;
    await withControl({ native }, async ({ socket, engine }) => {
      for (const [method, path] of [
        ['GET', '/v1/sessions'],
        ['GET', '/v1/version'],
        ['DELETE', '/v1/sessions/x'],
      ] as const) {
        const { status, body } = await ask(socket, method, path);
        assert.deepEqual([status, body.error?.code], [401, 'NOT_LET_IN']);
        assert.equal(body.error?.kind, 'not-permitted');
      }
      assert.equal((await ask(socket, 'POST', '/v1/sessions', WISHES)).status, 401);
      assert.deepEqual(engine.traces, []);
    });
  }
});
