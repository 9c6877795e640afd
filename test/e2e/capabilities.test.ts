/** The rights that tracing needs, each shown to be needed, and named where it is missing. */
import assert from 'node:assert/strict';
import { chmod, copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AGENT_CAPABILITIES, LEAST_CAPABILITIES } from '../tools/capabilities.js';
import { inFolder } from '../tools/folder.js';
import { runLoad } from '../tools/load.js';
import { RunningProcess } from '../tools/process.js';
import { requireBpf } from '../tools/require.js';
import { Shop } from '../tools/shop.js';
import { trace, Tracer } from '../tools/tracer.js';

describe('capabilities', () => {
  let shop: Shop;
  before(async () => {
    shop = await Shop.start({ serviceName: 'of-root' });
  });
  after(() => shop.stop());

  for (const uid of [65_534, 0]) {
    test(`user ${uid} traces with the least of them`, async (t) => {
      if (!requireBpf(t)) return;
      const rights = { capabilities: LEAST_CAPABILITIES, uid };
      const tracer = await Tracer.attach(['--pid', String(shop.pid), 'main.*'], {}, rights);
      const before = await shop.counters();
      await runLoad({ urls: [`${shop.url}/order`], requests: 20, concurrency: 2 });
      const after = await shop.counters();
      await tracer.stop();
      const name = 'main.(*Shop).PlaceOrder';
      const placed = (after.calls[name] ?? 0) - (before.calls[name] ?? 0);
      const spans = tracer.spans.filter((span) => span.name === name);
      assert.ok(placed > 0);
      assert.equal(spans.length, placed, tracer.stderr);
      for (const { parentSpanId, resource } of spans) {
        assert.notEqual(parentSpanId, null);
        assert.equal(resource['service.name'], 'of-root');
      }
      assert.doesNotMatch(tracer.stderr, /could not|closed|not permitted/i);
    });
  }

  for (const missing of LEAST_CAPABILITIES) {
    test(`without CAP_${missing} the error names it`, async (t) => {
      if (!requireBpf(t)) return;
      await inFolder(async (folder) => {
        // As images have them whose files only their own user may read.
        const program = join(folder, 'closed');
        await copyFile(shop.binary, program);
        await chmod(folder, 0o755);
        await chmod(program, 0o700);
        const closed = await RunningProcess.start(program, [], { OTEL_TRACES_EXPORTER: 'none' });
        try {
          const rest = LEAST_CAPABILITIES.filter((name) => name !== missing);
          const args = ['attach', '--pid', String(closed.pid), 'main.*', '-d', '100ms'];
          const { status, stderr } = await trace(args, { rights: { capabilities: rest } });
          assert.equal(status, 3, stderr);
          assert.match(stderr, new RegExp(`(missing|with) CAP_${missing}\\b`));
          const all = await trace(args, { rights: { capabilities: LEAST_CAPABILITIES } });
          assert.equal(all.status, 0, all.stderr);
        } finally {
          await closed.stop('SIGKILL');
        }
      });
    });
  }

  test('without CAP_DAC_READ_SEARCH it is said that services cannot be told', async (t) => {
    if (!requireBpf(t)) return;
    const rights = { capabilities: ['BPF', 'PERFMON', 'SYS_PTRACE'] };
    const tracer = await Tracer.attach(['--pid', String(shop.pid), 'main.*'], {}, rights);
    await runLoad({ urls: [`${shop.url}/order`], requests: 20, concurrency: 2 });
    await tracer.stop();
    assert.ok(tracer.spans.length > 0);
    const told = tracer.notices.filter(({ code }) => code === 'RESOURCE_NOT_PERMITTED');
    assert.equal(told.length, 1, tracer.stderr);
    assert.match(told[0]?.hint ?? '', /CAP_DAC_READ_SEARCH/);
  });

  test('a service that cannot be looked for is not taken for absent', async (t) => {
    if (!requireBpf(t)) return;
    const rest = LEAST_CAPABILITIES.filter((name) => name !== 'DAC_READ_SEARCH');
    const args = ['attach', '--otel-service', 'of-root', 'main.*'];
    const { status, stderr } = await trace(args, { rights: { capabilities: rest } });
    assert.equal(status, 3, stderr);
    assert.match(stderr, /with CAP_DAC_READ_SEARCH/);
  });

  test('doctor names what is missing', async (t) => {
    if (!requireBpf(t)) return;
    const none = await trace(['doctor'], { rights: { capabilities: [] } });
    assert.equal(none.status, 3);
    for (const name of LEAST_CAPABILITIES) assert.match(none.stdout, new RegExp(`CAP_${name}`));
    const least = await trace(['doctor'], { rights: { capabilities: LEAST_CAPABILITIES } });
    assert.equal(least.status, 0, least.stdout);
    const granted = [...least.stdout.matchAll(/grant (CAP_\w+)/g)].map(([, name]) => name);
    assert.deepEqual(granted, ['CAP_KILL', 'CAP_LEASE']);
    const rights = { capabilities: [...AGENT_CAPABILITIES, 'KILL'] };
    const all = await trace(['doctor'], { rights });
    assert.doesNotMatch(all.stdout, /grant CAP/);
  });

  test('the overhead is measured where the kernel measures for everyone', async (t) => {
    if (!requireBpf(t)) return;
    const measured = async (): Promise<number | null> => {
      const rights = { capabilities: LEAST_CAPABILITIES };
      const tracer = await Tracer.attach(['--pid', String(shop.pid), 'main.*'], {}, rights);
      await runLoad({ urls: [`${shop.url}/order`], requests: 20, concurrency: 2 });
      await tracer.stop();
      return tracer.result.overhead.measured;
    };
    const setting = '/proc/sys/kernel/bpf_stats_enabled';
    const before = await readFile(setting, 'utf8');
    try {
      await writeFile(setting, '0');
      assert.equal(await measured(), null);
      await writeFile(setting, '1');
      assert.ok(Number(await measured()) > 0);
    } finally {
      await writeFile(setting, before);
    }
  });
});
