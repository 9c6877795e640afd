import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLog, type Log } from '../../src/agent/log.js';
import { UnderspanError } from '../../src/errors.js';
import { projectRoot } from '../tools/go.js';

type Line = Record<string, unknown>;

function logging(level: 'debug' | 'info' | 'warn' | 'error' = 'info'): { log: Log; lines: Line[] } {
  const lines: Line[] = [];
  const destination = {
    write: (text: string) => void lines.push(JSON.parse(text) as Line),
  };
  return { log: createLog({ level, version: '1.2.3', destination }), lines };
}

test('a line says when, how bad, what and whose', () => {
  const { log, lines } = logging();
  log.warn({ rule: 'shop', pid: 7 }, 'no function matches');
  const [line] = lines;
  assert.match(String(line?.['time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.deepEqual(
    { ...line, time: '' },
    {
      level: 'warn',
      time: '',
      service: 'underspan',
      version: '1.2.3',
      rule: 'shop',
      pid: 7,
      msg: 'no function matches',
    },
  );
});

test('only what is at least as bad as the level', () => {
  const { log, lines } = logging('warn');
  log.debug({}, 'a');
  log.info({}, 'b');
  log.warn({}, 'c');
  log.error({}, 'd');
  assert.deepEqual(
    lines.map(({ level, msg }) => [level, msg]),
    [
      ['warn', 'c'],
      ['error', 'd'],
    ],
  );
});

test('values of headers and secrets are hidden, at any depth', () => {
  const { log, lines } = logging();
  const fields = {
    endpoint: 'https://collector:4317',
    headers: { authorization: 'Bearer s3cret', 'x-team': 's3cret' },
    export: [{ OTEL_EXPORTER_OTLP_HEADERS: 'api-key=s3cret', metadata: { a: ['s3cret'] } }],
    client: { bearerToken: 's3cret', private_key: 's3cret', password: ['s3cret'] },
    kubernetesTokens: true,
    session: 'b1',
  };
  const before = structuredClone(fields);
  log.info(fields, 'connected');
  assert.doesNotMatch(JSON.stringify(lines), /s3cret/);
  assert.deepEqual(fields, before);
  const { endpoint, headers, kubernetesTokens, session } = lines[0] ?? {};
  assert.deepEqual(
    [endpoint, headers, kubernetesTokens, session],
    ['https://collector:4317', { authorization: '[hidden]', 'x-team': '[hidden]' }, true, 'b1'],
  );
});

test('an error that was foreseen has no stack, any other has', () => {
  const { log, lines } = logging();
  const cause = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
  log.error({ err: new UnderspanError('failed', 'x', 'what', 'hint', { cause }) }, 'a');
  log.error({ err: new TypeError('bug') }, 'b');
  const [foreseen, bug] = lines.map(({ err }) => err as Line);
  assert.deepEqual(
    { ...foreseen, cause: { ...(foreseen?.['cause'] as Line), stack: '' } },
    {
      type: 'UnderspanError',
      code: 'x',
      message: 'what',
      hint: 'hint',
      cause: { type: 'Error', code: 'ECONNREFUSED', message: 'connect', stack: '' },
    },
  );
  assert.match(String(bug?.['stack']), /agent-log\.test/);
});

test('what holds itself is written as far as it goes', () => {
  const { log, lines } = logging();
  const circular: Line = { name: 'a' };
  circular['self'] = circular;
  log.info(circular, 'x');
  assert.equal(lines[0]?.['name'], 'a');
});

test('goes to standard error, to its last line when the process is ended', () => {
  const module = join(projectRoot, 'dist/src/agent/log.js');
  const script = `
    import { createLog } from ${JSON.stringify(module)};
    const log = createLog({ level: 'info', version: '1' });
    for (let n = 0; n < 1000; n++) log.info({ n }, 'line');
    process.kill(process.pid, 'SIGKILL');
  `;
  const { stdout, stderr, signal } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script],
    { encoding: 'utf8' },
  );
  assert.equal(signal, 'SIGKILL');
  assert.equal(stdout, '');
  const numbers = stderr
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as Line)['n']);
  assert.deepEqual(
    numbers,
    Array.from({ length: 1_000 }, (_, n) => n),
  );
});
