/** gRPC servers and clients with the official instrumentation: every call under its RPC's span. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { inFolder } from '../tools/folder.js';
import { buildTarget } from '../tools/go.js';
import { requireBpf } from '../tools/require.js';
import { Tracer } from '../tools/tracer.js';

const CALLS = 2_000;

for (const [build, flags] of [
  ['with DWARF', []],
  ['stripped', ['-ldflags=-s -w']],
] as const) {
  test(`unary and streaming calls, ${build}`, async (t) => {
    if (!requireBpf(t)) return;
    const binary = await buildTarget('grpc', { flags: [...flags] });
    await inFolder(async (folder) => {
      const file = join(folder, 'known.json');
      const tracer = Tracer.start([
        ...['--ring-size', '64M', '/^main\\.(\\(\\*server\\)\\.(Check|Watch)|look|ask)$/'],
        ...['--', binary, file, String(CALLS)],
      ]);
      assert.equal(await tracer.ended(), 0, tracer.stderr);
      const { spans: known } = JSON.parse(await readFile(file, 'utf8')) as {
        spans: Record<string, Record<string, string>>;
      };
      const byId = new Map(tracer.spans.map((span) => [span.spanId, span]));
      const calls: Record<string, number> = {};
      for (const { name, parentSpanId, traceId, attributes } of tracer.spans) {
        calls[name] = (calls[name] ?? 0) + 1;
        const what = `${name}, found by ${String(attributes['underspan.context.source'])}`;
        if (name === 'main.look') {
          const parent = byId.get(parentSpanId ?? '');
          assert.match(parent?.name ?? 'nothing', /^main\.\(\*server\)\.(Check|Watch)$/);
          assert.equal(traceId, parent?.traceId);
        } else {
          assert.equal(known[name]?.[parentSpanId ?? ''], traceId, what);
        }
      }
      const [check, watch] = ['main.(*server).Check', 'main.(*server).Watch'];
      assert.deepEqual(calls, {
        [check]: CALLS / 2,
        [watch]: CALLS / 2,
        'main.look': CALLS / 2 + (CALLS / 2) * 3,
        'main.ask': CALLS,
      });
      const sources = new Set(
        tracer.spans.map(
          (span) => `${span.name} ${String(span.attributes['underspan.context.source'])}`,
        ),
      );
      t.diagnostic([...sources].sort().join(', '));
    });
  });
}
