/** What processes die of when it is attached to is not attached to again at once. */
import assert from 'node:assert/strict';
import { readdirSync, rmSync, watch } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentProcess, until } from '../tools/agent.js';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { compileNative } from '../tools/native-targets.js';
import { RunningProcess, sleep } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { trace, Tracer } from '../tools/tracer.js';

/** Longer than one that is attached to lives. */
const SURVIVES_MS = 1_500;
const TRIES = 10;

interface World {
  folder: string;
  program: string;
  env: { UNDERSPAN_CACHE_DIR: string };
}

async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    const program = await compileNative('gcc', 'wary.c', join(folder, 'wary'), ['-O1']);
    const cache = join(folder, 'cache');
    await mkdir(cache);
    await run({ folder, program, env: { UNDERSPAN_CACHE_DIR: cache } });
  });
}

async function start(program: string, ...args: string[]): Promise<RunningProcess> {
  const wary = await RunningProcess.start(program, args);
  await wary.until('ready', () => (wary.output.includes('ready') ? true : null));
  return wary;
}

async function diesOf(wary: RunningProcess, signal: string): Promise<void> {
  await wary.ended();
  assert.equal(wary.child.signalCode, signal);
}

async function survives(wary: RunningProcess): Promise<void> {
  await sleep(SURVIVES_MS);
  assert.ok(wary.running, `it died of ${wary.child.signalCode}`);
}

const ruleFor = (executable: string, symbols = 'work'): object => ({
  rules: [{ name: 'wary', select: { executable }, trace: { symbols } }],
  export: { otlp: false },
});

const marks = (folder: string): string[] =>
  readdirSync(folder).filter((file) => /^attaching-.*\.json$/.test(file));

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has been.
  }
}

const crashFiles = (folder: string): string[] =>
  readdirSync(folder).filter((file) => file.startsWith('crash-'));

test('an agent lets go of what processes die of, and so does the next one', async (t) => {
  if (!requireBpf(t)) return;
  await inWorld(async ({ folder, program, env }) => {
    let agent = await AgentProcess.start(folder, { config: ruleFor(program), env });
    const running: RunningProcess[] = [];
    try {
      await diesOf(await start(program), 'SIGSEGV');
      const told = await agent.hear('died of SIGSEGV');
      assert.equal(told.code, 'TARGET_CRASHED');
      const second = await start(program);
      running.push(second);
      await survives(second);
      const { rules } = await agent.ready();
      assert.match(rules[0]?.problem ?? '', /died of SIGSEGV .* not probed again for/);
      const sites = (await agent.metrics())
        .samples('underspan_probes_detached_total')
        .find(({ labels }) => labels['reason'] === 'crash');
      assert.ok((sites?.value ?? 0) > 0);
      await agent.stop();

      agent = await agent.again({ env });
      await agent.hear('died of SIGSEGV');
      await survives(second);
      // As the hint says.
      for (const file of crashFiles(env.UNDERSPAN_CACHE_DIR)) {
        rmSync(join(env.UNDERSPAN_CACHE_DIR, file));
      }
      await diesOf(second, 'SIGSEGV');
    } finally {
      await agent.stop();
      for (const each of running) await each.stop('SIGKILL');
    }
  });
});

test('a process that dies before it was looked at is told of, too', async (t) => {
  if (!requireBpf(t)) return;
  await inWorld(async ({ folder, program, env }) => {
    const bearing = await start(program, 'bear');
    const agent = await AgentProcess.start(folder, { config: ruleFor(program), env });
    try {
      const first = await RunningProcess.start(program, []);
      await diesOf(first, 'SIGSEGV');
      assert.equal(first.output, '', 'its probes were not there from its first call on');
      await agent.hear('died of SIGSEGV');
      const next = await start(program);
      await survives(next);
      await next.stop('SIGKILL');
      assert.ok(bearing.running);
    } finally {
      await agent.stop();
      await bearing.stop('SIGKILL');
    }
  });
});

test('an agent that was killed while it attached does not begin with the same', async (t) => {
  if (!requireBpf(t)) return;
  await inWorld(async ({ folder, env }) => {
    const shop = await buildTarget('shop');
    const target = await RunningProcess.start(shop, [], { OTEL_TRACES_EXPORTER: 'none' });
    const cache = env.UNDERSPAN_CACHE_DIR;
    let agent = await AgentProcess.start(folder, { config: ruleFor('/nothing'), env });
    const watcher = watch(cache, (_, file) => {
      const [, pid] = /^attaching-(\d+)-/.exec(file ?? '') ?? [];
      if (pid !== undefined) kill(Number(pid));
    });
    try {
      await agent.configure(ruleFor(shop, '/^net\\/http/'));
      await until('killed', () => (agent.process.running ? null : true));
      // It may have been done by the time that it was killed.
      for (let tries = 0; tries < TRIES && marks(cache).length === 0; tries++) {
        await assert.rejects(agent.again({ env }));
      }
      watcher.close();
      assert.equal(marks(cache).length, 1);
      agent = await agent.again({ env });
      const told = await agent.hear('a tracer was killed while it attached');
      assert.equal(told.code, 'CRASHED_BEFORE');
      assert.equal(crashFiles(cache).length, 1);
      assert.ok(target.running);
    } finally {
      watcher.close();
      await agent.stop();
      await target.stop('SIGKILL');
    }
  });
});

test('a person is told why, and how to go on', async (t) => {
  if (!requireBpf(t)) return;
  await inWorld(async ({ program, env }) => {
    const first = await start(program);
    const tracer = Tracer.start(['--pid', String(first.pid), 'work'], env);
    await diesOf(first, 'SIGSEGV');
    assert.equal(await tracer.ended(), 0);
    assert.deepEqual(
      tracer.notices.map(({ code }) => code),
      ['TARGET_CRASHED'],
    );
    const second = await start(program);
    try {
      const args = ['attach', '--pid', String(second.pid), 'work'];
      const refused = await trace(args, { env });
      assert.equal(refused.status, 1);
      assert.match(refused.stderr, /died of SIGSEGV .* not probed again for 5 min/);
      const planned = await trace([...args, '--dry-run'], { env });
      assert.equal(planned.status, 0);
      assert.match(
        planned.stdout + planned.stderr,
        /died of SIGSEGV .* not probed again for 5 min/,
      );
      await survives(second);
      const [, path = ''] = /: rm (\S+)/.exec(refused.stderr) ?? [];
      rmSync(path);
      await trace(args, { env });
      await diesOf(second, 'SIGSEGV');
    } finally {
      await second.stop('SIGKILL');
    }
    // A program of the user's own is started as often as the user likes.
    const command = await trace(['attach', 'work', '--', program], { env });
    assert.equal(command.status, 128 + 11);
    rmSync(env.UNDERSPAN_CACHE_DIR, { recursive: true });
    for (let run = 0; run < 2; run++) {
      assert.equal((await trace(['attach', 'work', '--', program], { env })).status, 128 + 11);
    }
  });
});

test('the end of a process says nothing of what was attached long before', async (t) => {
  if (!requireBpf(t)) return;
  await inWorld(async ({ program, env }) => {
    const bearing = await start(program, 'bear');
    const tracer = await Tracer.attach(['--pid', String(bearing.pid), 'work'], env);
    await until('spans', () => (tracer.spans.length > 0 ? true : null));
    await sleep(2_100);
    bearing.child.kill('SIGSEGV');
    await tracer.ended();
    assert.deepEqual(tracer.notices, []);
    assert.deepEqual(crashFiles(env.UNDERSPAN_CACHE_DIR), []);
  });
});
