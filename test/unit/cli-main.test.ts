import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../cli/main.js', import.meta.url));

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

async function trace(argv: string[], { closeOutput = false } = {}): Promise<Outcome> {
  const child = spawn(process.execPath, [main, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  if (closeOutput) child.stdout.destroy();
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

test('the program prints its version', async () => {
  const { status, stdout, stderr } = await trace(['--version']);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});

test('the program tells wrong usage on standard error', async () => {
  const { status, stdout, stderr } = await trace(['attach', '--pid', 'shop', 'main.*']);
  assert.deepEqual([status, stdout], [2, '']);
  assert.match(stderr, /^trace: option '-p, --pid <n>' argument 'shop' is invalid/);
});

test('with a command our own failure has status 125', async () => {
  assert.equal((await trace(['attach', '--nonsense', '--', 'true'])).status, 125);
});

test('a reader that goes away is a quiet end', async () => {
  const { status, stderr } = await trace(['attach', '--help'], { closeOutput: true });
  assert.deepEqual([status, stderr], [0, '']);
});
