/** What a user can get wrong: one line that says what and why, one that says what to do. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmod, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { runLoad } from '../tools/load.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { trace, Tracer } from '../tools/tracer.js';

interface Expected {
  status: number;
  /** In standard error. */
  says: RegExp;
}

async function assertRefused(args: string[], { status, says }: Expected): Promise<void> {
  const result = await trace(args);
  assert.match(result.stderr, says);
  assert.equal(result.status, status, result.stderr);
  assert.equal(result.stdout, '', 'standard output is for results');
  assert.doesNotMatch(result.stderr, /^\s+at .*:\d+:\d+/m, 'a stack trace');
}

describe('bad input', () => {
  let shop: Shop;
  before(async () => {
    shop = await Shop.start();
  });
  after(() => shop.stop());

  test('no such process', async (t) => {
    if (!requireBpf(t)) return;
    await assertRefused(['attach', '--pid', '2147483646', 'main.*'], {
      status: 4,
      says: /there is no process 2147483646/,
    });
  });

  test('not permitted', (t) => {
    if (!requireBpf(t)) return;
    const child = execFileSync(
      'sh',
      [
        '-c',
        `setpriv --reuid 65534 --regid 65534 --clear-groups -- ${process.execPath} dist/cli/main.js attach --pid ${shop.pid} 'main.*' 2>&1; echo "status $?"`,
      ],
      { encoding: 'utf8' },
    );
    assert.match(child, /status 3/);
    assert.match(child, /run as root|CAP_/);
  });

  test('a pattern that matches nothing names the nearest', async (t) => {
    if (!requireBpf(t)) return;
    await assertRefused(['attach', '--pid', String(shop.pid), 'main.(*Shop).PlaceOrdr'], {
      status: 4,
      says: /no function of .* matches[^]*main\.\(\*Shop\)\.PlaceOrder/,
    });
  });

  test('a pattern that matches far too much says how to raise the limit', async (t) => {
    if (!requireBpf(t)) return;
    await assertRefused(['attach', '--pid', String(shop.pid), '*'], {
      status: 2,
      says: /functions match, more than the 2,000[^]*--max-functions \d+/,
    });
  });

  test('a function that was inlined away', async (t) => {
    if (!requireBpf(t)) return;
    await assertRefused(['attach', '--pid', String(shop.pid), 'context.withCancel'], {
      status: 4,
      says: /inlined[^]*context\.WithCancel/,
    });
  });

  test('a thread of the kernel', async (t) => {
    if (!requireBpf(t)) return;
    await assertRefused(['attach', '--pid', '2', 'main.*'], { status: 3, says: /kernel/ });
  });

  test('a 32-bit process', async (t) => {
    if (!requireBpf(t)) return;
    await inFolder(async (folder) => {
      // A real 32-bit header in a file is enough: nothing past it may be looked at.
      const file = join(folder, 'old');
      const bytes = await readFile('/bin/true');
      bytes.writeUInt8(1, 4);
      await writeFile(file, bytes);
      await chmod(file, 0o755);
      await assertRefused(['symbols', '--', file], { status: 125, says: /32/ });
    });
  });

  test('a script', async (t) => {
    if (!requireBpf(t)) return;
    await inFolder(async (folder) => {
      const script = join(folder, 'script.sh');
      await writeFile(script, '#!/bin/sh\nexit 0\n');
      await chmod(script, 0o755);
      await assertRefused(['attach', '--exe', script, 'main.*'], { status: 4, says: /script/ });
    });
  });

  test('a truncated executable', async (t) => {
    if (!requireBpf(t)) return;
    await inFolder(async (folder) => {
      const file = join(folder, 'short');
      const bytes = await readFile(shop.binary);
      await writeFile(file, bytes.subarray(0, bytes.length >> 1));
      await chmod(file, 0o755);
      await assertRefused(['symbols', '--', file], {
        status: 125,
        says: /truncated or malformed/,
      });
    });
  });

  test('an OTLP endpoint that nobody listens on', async (t) => {
    if (!requireBpf(t)) return;
    const tracer = await Tracer.attach([
      ...['--pid', String(shop.pid), 'main.*'],
      ...['--otlp', '--otlp-endpoint', 'http://127.0.0.1:9'],
    ]);
    await runLoad({ urls: [`${shop.url}/order`], requests: 50, concurrency: 4 });
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    const said = [tracer.stderr, ...tracer.notices.map(({ message }) => message)].join('\n');
    assert.match(said, /127\.0\.0\.1:9/);
    assert.ok((tracer.result.lost['export'] ?? 0) > 0, JSON.stringify(tracer.result.lost));
  });

  test('the target exits while it is attached to', async (t) => {
    if (!requireBpf(t)) return;
    // Whatever the moment: an error that says so, or an orderly end.
    for (const delay of [0, 50, 100, 200, 400]) {
      const short = await Shop.start();
      const running = trace(['attach', '--pid', String(short.pid), 'main.*']);
      setTimeout(() => void short.process.stop('SIGKILL'), delay);
      const { status, stderr } = await running;
      assert.ok(status === 0 || status === 4, `${status}: ${stderr}`);
      assert.doesNotMatch(stderr, /^\s+at .*:\d+:\d+/m);
    }
  });

  test('a pattern that the shell expanded', async (t) => {
    if (!requireBpf(t)) return;
    await assertRefused(
      ['attach', '--pid', String(shop.pid), 'package.json', 'tsconfig.json', 'README.md'],
      { status: 2, says: /shell[^]*single quotes/ },
    );
  });

  test('nothing that fits, without waiting and with', async (t) => {
    if (!requireBpf(t)) return;
    await assertRefused(['attach', '--comm', 'no-such-comm', 'main.*'], {
      status: 4,
      says: /no process fits comm no-such-comm[^]*--wait/,
    });
    const begin = Date.now();
    await assertRefused(['attach', '--comm', 'no-such-comm', '--wait=1s', 'main.*'], {
      status: 4,
      says: /none came/,
    });
    assert.ok(Date.now() - begin >= 1_000);
  });

  test('a process that starts while it is waited for', async (t) => {
    if (!requireBpf(t)) return;
    const waiting = Tracer.attach(['--exe', shop.binary, '--wait=20s', 'main.*']);
    const tracer = await waiting;
    assert.equal(await tracer.stop(), 0, tracer.stderr);
  });

  test('a command: its exit status is ours', async (t) => {
    if (!requireBpf(t)) return;
    const found = await trace(['attach', 'main.*', '--', shop.binary, '-no-such-flag']);
    assert.equal(found.status, 2, found.stderr);
    await assertRefused(['attach', 'main.*', '--', 'no-such-command'], {
      status: 125,
      says: /there is no command 'no-such-command'/,
    });
  });

  test('a reader that goes away', async (t) => {
    if (!requireBpf(t)) return;
    const child = spawn(
      'sh',
      [
        '-c',
        `${process.execPath} dist/cli/main.js attach --pid ${shop.pid} --output json 'main.*' | head -n 3 >/dev/null`,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const over = new AbortController();
    const load = runLoad({
      urls: [`${shop.url}/order`],
      requests: 20_000,
      concurrency: 4,
      rate: 200,
      signal: over.signal,
    });
    assert.equal(await ended, 0);
    over.abort();
    await load;
  });

  test('an unknown option', async () => {
    await assertRefused(['attach', '--no-such-option'], { status: 2, says: /no-such-option/ });
  });

  test('an executable that is no ELF file at all', async () => {
    await inFolder(async (folder) => {
      const file = join(folder, 'noise');
      const handle = await open(file, 'w', 0o755);
      await handle.write('noise');
      await handle.close();
      await assertRefused(['symbols', '--', file], { status: 125, says: /ELF/ });
    });
  });
});
