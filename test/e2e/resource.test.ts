/** Whose spans ours are: what the program's own SDK sends, whatever the environment says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildTarget, type BuildOptions } from '../tools/go.js';
import type { OtlpAttributes } from '../tools/otlp.js';
import { RunningProcess } from '../tools/process.js';
import { Receiver } from '../tools/receiver.js';
import { requireBpf } from '../tools/require.js';
import { Tracer } from '../tools/tracer.js';

const ENVIRONMENT = { OTEL_RESOURCE_ATTRIBUTES: 'service.name=environment,from.env=1' };

/** Traces the program until spans of both kinds have come; asserts that their resources are equal. */
async function sameResource(binary: string, kind: string): Promise<OtlpAttributes> {
  const receiver = await Receiver.start();
  const program = await RunningProcess.start(binary, [], {
    ...ENVIRONMENT,
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
    RESOURCE: kind,
  });
  try {
    const spans = (ours: boolean): typeof receiver.spans =>
      receiver.spans.filter(({ scope }) => (scope.name === 'underspan') === ours);
    await program.until('exporting', () => spans(false)[0] ?? null);
    const tracer = await Tracer.attach([
      ...['--pid', String(program.pid), 'main.work'],
      ...['--otlp-endpoint', receiver.endpoint],
    ]);
    await program.until('traced', () => (tracer.spans.length >= 20 ? true : null));
    assert.equal(await tracer.stop(), 0, tracer.stderr);
    assert.deepEqual(tracer.notices, []);
    const [own] = spans(false);
    assert.ok(own && spans(true).length >= 20);
    for (const span of spans(true)) assert.deepEqual(span.resource, own.resource);
    return own.resource;
  } finally {
    await program.stop();
    receiver.stop();
  }
}

// Of each release in which spans, contexts or sets of attributes changed.
const VERSIONS = ['1.4.1', '1.11.2', '1.19.0', '1.24.0', '1.31.0', '1.38.0', null];
for (const version of VERSIONS) {
  const flags = version === null ? [] : [`-modfile=sdk-${version}.mod`];
  test(`a resource that is made in code, SDK ${version ?? 'of today'}`, async (t) => {
    if (!requireBpf(t)) return;
    const resource = await sameResource(await buildTarget('resource', { flags }), '');
    assert.equal(resource['service.name'], 'named in code');
    // The SDK merges the environment into what it is given.
    assert.equal(resource['from.env'], '1');
    assert.deepEqual(resource['numbers'], [1, -2, 3, 4, 5]);
    assert.equal(resource['share'], 0.25);
  });
}

const BUILDS: [string, BuildOptions][] = [
  ['stripped', { flags: ['-ldflags=-s -w'] }],
  ['stripped, SDK 1.4.1', { flags: ['-modfile=sdk-1.4.1.mod', '-ldflags=-s -w'] }],
  ['position independent', { flags: ['-buildmode=pie'] }],
];
for (const [name, options] of BUILDS) {
  test(`a resource that is merged from several, ${name}`, async (t) => {
    if (!requireBpf(t)) return;
    const resource = await sameResource(await buildTarget('resource', options), 'merged');
    assert.equal(resource['service.name'], 'named in code');
    assert.equal(resource['telemetry.sdk.language'], 'go');
    assert.ok(Number(resource['process.pid']) > 0);
  });
}

test('an empty resource stays empty: no name is added', async (t) => {
  if (!requireBpf(t)) return;
  const resource = await sameResource(await buildTarget('resource'), 'empty');
  assert.deepEqual(resource, { 'service.name': 'environment', 'from.env': '1' });
});
