/** Functions of the kernel in the agent's rules, and in the list of what could be traced. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { AgentProcess } from '../tools/agent.js';
import { trace } from '../tools/tracer.js';

const CALLS = 500;
/** Emulation on a busy host takes its time. */
const LIST_MS = 120_000;
const START_MS = 300_000;

const CONFIG = {
  rules: [
    {
      name: 'calls',
      select: { executable: '/syscalls' },
      trace: {
        symbols: ['kernel:/^(vfs_(read|writev?)|tcp_(sendmsg|v4_rcv))$/'],
        exclude: 'kernel:vfs_read*',
        args: 'count',
        roots: true,
      },
    },
  ],
  export: { otlp: false },
};

/** What the agent counts is what the program counts. */
export async function checkKernelAgent(): Promise<string> {
  const child = spawn('/syscalls', [String(CALLS)]);
  await once(child, 'spawn');
  let agent: AgentProcess | null = null;
  try {
    const settings = { config: CONFIG, startMs: START_MS };
    agent = await AgentProcess.start(mkdtempSync('/tmp/agent-'), settings);
    const state = await agent.ready();
    assert.equal(state.ready, true, JSON.stringify(state));
    let output = '';
    child.stdout.on('data', (text: Buffer) => (output += text.toString()));
    child.stdin.write('go\n');
    await once(child, 'close');
    const truth = JSON.parse(output) as Record<string, number>;
    const calls = await agent.calls();
    assert.deepEqual(Object.fromEntries([...calls].filter(([, count]) => count > 0)), {
      'kernel:tcp_sendmsg': truth['tcp_sendmsg'],
      'kernel:vfs_write': truth['vfs_write'],
    });
    assert.deepEqual([...calls.keys()].includes('kernel:vfs_read'), false, 'it is excluded');
    const metrics = await agent.metrics();
    const foreign = metrics.value('underspan_function_foreign_hits_total', {
      function: 'kernel:tcp_v4_rcv',
    });
    assert(foreign > 0, 'hits in interrupts are told');
    const warnings = agent.log.filter(({ level }) => level === 'warn');
    assert.deepEqual(warnings, []);
  } finally {
    child.kill();
    await agent?.process.stop();
  }
  return 'a rule of the agent traces the kernel';
}

export async function checkKernelList(): Promise<string> {
  const args = ['symbols', 'kernel:vfs_write*', 'kernel:asm_exc_int3', '--output', 'json'];
  const listed = await trace(args, { cwd: '/', timeoutMs: LIST_MS, rights: null });
  assert.equal(listed.status, 0, listed.stderr);
  const lines = listed.stdout.trim().split('\n');
  const all = lines.map((line) => JSON.parse(line) as { name: string; traceable: boolean });
  const found = new Map(all.map(({ name, traceable }) => [name, traceable]));
  assert.equal(found.get('kernel:vfs_write'), true);
  assert.equal(found.get('kernel:asm_exc_int3'), false, 'where breakpoints lead to takes none');
  const shown = await trace(args.slice(0, 3), { cwd: '/', timeoutMs: LIST_MS, rights: null });
  process.stderr.write(shown.stdout);
  return `${found.size} functions of the kernel listed`;
}
