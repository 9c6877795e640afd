/**
 * Servers written in C as Debian ships them, stripped of all but their dynamic symbols, traced
 * under their own load generators: calls are those that the server itself counts, and neither it
 * nor who uses it notices.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from '../tools/collector.js';
import { debianLibraries, debianPackage } from '../tools/debian.js';
import { inFolder } from '../tools/folder.js';
import { RunningProcess } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { type JsonSpan, totalLost, Tracer } from '../tools/tracer.js';

const run = promisify(execFile);
const SUITE = 'bookworm';
const ATTACH = ['--ring-size', '64M', '--max-rate', '0'];

/** What the packages give, or null: the test is skipped. */
async function obtained<T>(t: TestContext, packages: Promise<T>): Promise<T | null> {
  try {
    return await packages;
  } catch (error) {
    t.skip(`the package cannot be had: ${String(error).split('\n')[0] ?? ''}`);
    return null;
  }
}

/** Each call is a span or a counted loss, and no span hangs from one that did not come. */
function assertWhole({ result, spans, notices, stderr }: Tracer): void {
  for (const { name, calls, spans: sent } of result.functions) {
    assert.equal(spans.filter((span) => span.name === name).length, sent, name);
    assert.ok(sent <= calls, name);
  }
  const calls = result.functions.reduce((sum, each) => sum + each.calls, 0);
  assert.equal(spans.length + totalLost(result), calls, JSON.stringify({ notices, stderr }));
  const ids = new Set(spans.map(({ spanId }) => spanId));
  assert.equal(ids.size, spans.length, 'a span came twice');
  for (const { parentSpanId, name } of spans) {
    assert.ok(parentSpanId === null || ids.has(parentSpanId), `${name} dangles`);
  }
}

function assertCalls({ result }: Tracer, expected: Record<string, number>): void {
  const called = Object.keys(expected).map((name) => {
    const calls = result.functions.find((each) => each.name === name)?.calls ?? 0;
    return [name, calls] as const;
  });
  assert.deepEqual(Object.fromEntries(called), expected);
  for (const [name, count] of called) assert.ok(count > 0, `${name} was not called`);
}

const failed = ({ spans }: Tracer, name: string): JsonSpan[] =>
  spans.filter((span) => span.name === name && span.status.code === 'error');

/** For the reader of the test's output. */
function report(t: TestContext, { result, spans, stderr }: Tracer): void {
  const calls = result.functions.map(({ name, calls }) => `${name} ${calls}`).join(', ');
  const lost = Object.entries(result.lost).filter(([, count]) => count > 0);
  t.diagnostic(
    `${stderr.split('\n')[0] ?? ''}; ${calls}; ${spans.length} spans, lost: ${JSON.stringify(lost)}`,
  );
}

interface Redis {
  server: string;
  client: (...args: string[]) => Promise<string>;
  benchmark: (...args: string[]) => Promise<string>;
  environment: Record<string, string>;
}

/** Server, client and load generator are in one package. */
async function redis(port: number): Promise<Redis> {
  const folder = join(await debianPackage(SUITE, 'redis-tools'), 'usr/bin');
  const server = join(folder, 'redis-check-rdb');
  const libraries = ['libatomic1', 'libgcrypt20', 'libjemalloc2', 'liblz4-1', 'liblzf1'].concat(
    ['libssl3', 'libstdc++6', 'libsystemd0', 'libzstd1', 'libgcc-s1', 'libcap2', 'libgpg-error0'],
    ['liblzma5'],
  );
  const environment = { LD_LIBRARY_PATH: await debianLibraries(SUITE, server, libraries) };
  const tool =
    (name: string) =>
    async (...args: string[]): Promise<string> => {
      const env = { ...process.env, ...environment };
      const { stdout, stderr } = await run(join(folder, name), ['-p', String(port), ...args], {
        env,
      });
      assert.doesNotMatch(`${stdout}${stderr}`, /could not connect|error from server/i);
      return stdout;
    };
  return { server, environment, client: tool('redis-cli'), benchmark: tool('redis-benchmark') };
}

/** Calls by command, and those of all. */
async function redisCounts({
  client,
}: Redis): Promise<{ of: (name: string) => number; all: number }> {
  const text = await client('info', 'everything');
  const number = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  return {
    of: (name) => number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm')),
    all: number(/^total_commands_processed:(\d+)/m),
  };
}

const REDIS_REQUESTS = 2_000;
const REDIS_ERRORS = 20;

for (const transport of ['ring', 'perf']) {
  test(`redis by ${transport}`, async (t) => {
    if (!requireBpf(t)) return;
    const port = await freePort();
    const tools = await obtained(t, redis(port));
    if (!tools) return;
    const { client, benchmark } = tools;
    await inFolder(async (folder) => {
      // By this name it is the server.
      const name = join(folder, 'redis-server');
      await symlink(tools.server, name);
      const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
      const server = await RunningProcess.start(name, args, tools.environment);
      try {
        await server.until('it answers', () =>
          /Ready to accept/.test(server.output) ? true : null,
        );
        const before = await redisCounts(tools);
        const functions = ['call', 'processCommand', 'setCommand', 'getCommand', 'lpushCommand'];
        const tracer = await Tracer.attach([
          ...['--pid', String(server.pid), '--transport', transport, ...ATTACH, ...functions],
          ...['evalCommand', 'lua_error', 'rdbSaveRio', 'rdbSaveKeyValuePair'],
        ]);
        const load = [
          '-t',
          'set,get,lpush',
          '-n',
          String(REDIS_REQUESTS),
          '-c',
          '8',
          '-e',
          '--csv',
        ];
        assert.match(await benchmark(...load, '-r', '500'), /"LPUSH"/);
        // Lua leaves the command that fails by longjmp.
        const script = "redis.call('set', KEYS[1], 'x') return redis.call('lpush', KEYS[1], 'y')";
        for (let n = 0; n < REDIS_ERRORS; n++) {
          assert.match(await client('eval', script, '1', 'word'), /WRONGTYPE/);
        }
        const keys = Number(await client('dbsize'));
        // By a child that it forks.
        await client('bgsave');
        await server.until('saved', async () =>
          /rdb_bgsave_in_progress:0/.test(await client('info', 'persistence')) ? true : null,
        );
        assert.equal(await tracer.stop(), 0, tracer.stderr);
        const after = await redisCounts(tools);
        report(t, tracer);
        const made = (command: string): number => after.of(command) - before.of(command);
        assertWhole(tracer);
        assertCalls(tracer, {
          // Each counts itself only after it has answered.
          call: after.all - before.all - 1,
          setCommand: made('set'),
          getCommand: made('get'),
          lpushCommand: made('lpush'),
          evalCommand: made('eval'),
          lua_error: REDIS_ERRORS,
          rdbSaveRio: 1,
          rdbSaveKeyValuePair: keys,
        });
        assert.equal(failed(tracer, 'lua_error').length, REDIS_ERRORS);
        assert.match(await client('lastsave'), /^\d+/);
        assert.match(await client('info', 'persistence'), /rdb_last_bgsave_status:ok/);
      } finally {
        await server.stop();
      }
    });
  });
}
