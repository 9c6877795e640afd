/** The table of Go's layouts, against the DWARF of programs that each version built. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import { GO_VERSIONS, goVersion } from '../../src/plan/go-versions.js';
import { buildVariant, GO_BUILDS, GO_RELEASES } from '../tools/go-builds.js';
import { projectRoot } from '../tools/go.js';
import { obtained } from '../tools/require.js';

for (const release of GO_RELEASES) {
  test(`Go ${release}`, async (t) => {
    const [build] = GO_BUILDS;
    assert.ok(build);
    const binary = await obtained(t, buildVariant('matrix', release, build));
    if (binary === null) return;
    const module = await loadNative().openModule(binary);
    const minor = Number(release.split('.')[1]);
    assert.match(module.facts.go?.version ?? '', new RegExp(`^go1\\.${minor}\\b`));
    const [goid, labels, curg, requestContext] = await module.fieldOffsets([
      { type: 'runtime.g', field: 'goid' },
      { type: 'runtime.g', field: 'labels' },
      { type: 'runtime.m', field: 'curg' },
      { type: 'net/http.Request', field: 'ctx' },
    ]);
    module.close();
    assert.deepEqual(goVersion(minor), { minor, goid, labels, curg, requestContext });
  });
}

test('docs/go.md has the same table', async () => {
  const text = await readFile(join(projectRoot, 'docs/go.md'), 'utf8');
  const rows = [...text.matchAll(/^\| 1\.(\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|/gm)];
  const known = rows.map(([, ...numbers]) => {
    const [minor = 0, goid = 0, labels = 0, curg = 0, requestContext = 0] = numbers.map(Number);
    return { minor, goid, labels, curg, requestContext };
  });
  assert.deepEqual(known, GO_VERSIONS);
});
