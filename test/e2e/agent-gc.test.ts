/** What the agent's metrics say of collections and allocations, against the program's own measure. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { AgentProcess, until } from '../tools/agent.js';
import { inFolder } from '../tools/folder.js';
import type { GcReport } from '../tools/gc-target.js';
import { buildVariant } from '../tools/go-builds.js';
import type { OpenMetricsText } from '../tools/openmetrics.js';
import { RunningProcess } from '../tools/process.js';
import { obtained, requireBpf } from '../tools/require.js';

const RELEASE = '1.27.3';
/** Nobody else that is traced calls these. */
const FUNCTIONS = ['allocatePointers', 'allocateAll'];
const ROUNDS = '40';
/** The collector takes back what was set aside and not used, once a cycle. */
const UNUSED = 0.1;

const config = (binary: string): object => ({
  rules: [
    {
      name: 'gc',
      select: { executable: binary },
      trace: { symbols: FUNCTIONS.map((name) => `main.${name}`), gc: true, allocations: true },
      hold: true,
    },
  ],
  export: { otlp: false },
});

function valueOf(metrics: OpenMetricsText, name: string, label?: string): number {
  const samples = metrics
    .samples(name)
    .filter(({ labels }) => !label || labels['function'] === label);
  return samples.reduce((sum, { value }) => sum + value, 0);
}

test('pauses and allocated bytes, as metrics', async (t) => {
  if (!requireBpf(t)) return;
  const binary = await obtained(
    t,
    buildVariant('gc', RELEASE, { name: 'default', flags: [] }, 'go.mod'),
  );
  if (binary === null) return;
  await inFolder(async (folder) => {
    const agent = await AgentProcess.start(folder, { config: config(binary) });
    try {
      const file = join(folder, 'report.json');
      const program = await RunningProcess.start(binary, ['allocate', ROUNDS, file]);
      assert.equal(await program.ended(), 0, program.output);
      const report = JSON.parse(await readFile(file, 'utf8')) as GcReport;
      assert.ok(report.pauses > 0);
      const metrics = await until('all pauses', async () => {
        const metrics = await agent.metrics();
        return valueOf(metrics, 'underspan_gc_pause_seconds_count') >= report.pauses
          ? metrics
          : null;
      });
      assert.equal(valueOf(metrics, 'underspan_gc_pause_seconds_count'), report.pauses);
      const paused = valueOf(metrics, 'underspan_gc_pause_seconds_sum') * 1e9;
      assert.ok(
        Math.abs(paused - report.pauseTotalNs) < 1e3,
        `${paused} of ${report.pauseTotalNs}`,
      );
      for (const name of FUNCTIONS) {
        const ours = valueOf(metrics, 'underspan_function_allocated_bytes_total', `main.${name}`);
        const truth = report.allocated[name] ?? 0;
        t.diagnostic(`${name}: ${ours} of ${truth} bytes`);
        assert.ok(
          truth > 1e6 && Math.abs(ours / truth - 1) < UNUSED,
          `${name}: ${ours} of ${truth}`,
        );
      }
    } finally {
      await agent.kill();
    }
  });
});
