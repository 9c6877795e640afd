/** Two rules for processes of one native executable: their links are shared, their calls are not. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { AgentProcess, until } from '../tools/agent.js';
import { compileNative } from '../tools/native-targets.js';
import { requireBpf, requireCommands } from '../tools/require.js';

const CALLS = 400;
const ROUNDS = 5;

class Program {
  readonly child: ChildProcess;
  private readonly lines;

  constructor(binary: string, service: string) {
    const env = { ...process.env, OTEL_SERVICE_NAME: service };
    this.child = spawn(binary, { env, stdio: ['pipe', 'pipe', 'inherit'] });
    assert.ok(this.child.stdout);
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async call(times: number): Promise<void> {
    this.child.stdin?.write(`${times}\n`);
    await this.lines.next();
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const exit = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }
}

test('each call counts for the rule of its process, and for no other', async (t) => {
  if (!requireBpf(t) || !requireCommands(t, ['gcc'])) return;
  const folder = await mkdtemp(join(tmpdir(), 'underspan-test-'));
  const binary = await compileNative('gcc', 'calls.c', join(folder, 'calls'), ['-O2']);
  const programs = { one: new Program(binary, 'one'), two: new Program(binary, 'two') };
  // Of no rule.
  const stranger = new Program(binary, 'three');
  const rules = Object.keys(programs).map((service) => ({
    name: service,
    select: { service },
    trace: { symbols: ['work'] },
  }));
  const agent = await AgentProcess.start(folder, { config: { rules } });
  try {
    const counted = async (rule: string): Promise<number> =>
      (await agent.metrics())
        .samples('underspan_function_calls_total', { rule })
        .reduce((sum, { value }) => sum + value, 0);
    await until('both attached', async () => {
      const targets = (await agent.metrics()).samples('underspan_targets', { executable: binary });
      return targets.reduce((sum, { value }) => sum + value, 0) === 2 ? true : null;
    });
    for (let round = 0; round < ROUNDS; round++) {
      await programs.one.call(CALLS);
      await programs.two.call(2 * CALLS);
      await stranger.call(CALLS);
    }
    assert.equal(await counted('one'), ROUNDS * CALLS);
    assert.equal(await counted('two'), ROUNDS * 2 * CALLS);
  } finally {
    await agent.stop();
    await Promise.all([programs.one, programs.two, stranger].map((each) => each.stop()));
    await rm(folder, { recursive: true });
  }
});
