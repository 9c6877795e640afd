/** Where a span of the SDK keeps what decides about trees, as programs themselves say it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import { goLayout, recordingSpanOffsets } from '../../src/plan/go-layout.js';
import { buildTarget } from '../tools/go.js';
import { obtained } from '../tools/require.js';

const SDK = 'go.opentelemetry.io/otel/sdk';

for (const version of ['1.4.1', '1.11.2', '1.19.0', '1.24.0', '1.31.0', '1.38.0', null]) {
  for (const flags of [[], ['-ldflags=-s -w']]) {
    test(`SDK ${version ?? 'newest'} ${flags.join(' ')}`, async (t) => {
      const modfile = version === null ? [] : [`-modfile=sdk-${version}.mod`];
      const binary = await obtained(t, buildTarget('resource', { flags: [...modfile, ...flags] }));
      if (binary === null) return;
      const module = await loadNative().openModule(binary);
      try {
        const { spanTypes } = await goLayout(module, false);
        const recording = spanTypes.find(({ name }) => name.endsWith('/trace.recordingSpan'));
        assert.ok(recording);
        const minor = Number(module.facts.go?.modules[SDK]?.split('.')[1]);
        const { name, type, tracerOffset, ...offsets } = recording;
        t.diagnostic(`${name} at ${type}, tracer at ${tracerOffset}`);
        assert.deepEqual(offsets, recordingSpanOffsets(minor));
      } finally {
        module.close();
      }
    });
  }
}
