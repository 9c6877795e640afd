import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { renderError } from '../../cli/errors.js';
import { compileGlob, InvalidGlob } from '../../src/agent/config/glob.js';
import { parseConfig, type ParsedConfig, readConfig } from '../../src/agent/config/parse.js';
import { UnderspanError } from '../../src/errors.js';

const EXAMPLE = 'docs/examples/agent.yaml';
const RULE = `rules:
  - name: shop
    select: { executable: /usr/bin/shop }
    trace: { symbols: main.* }
`;

const parse = (text: string, environment = {}): ParsedConfig =>
  parseConfig(text, 'a.yaml', environment);

function refusal(text: string, environment = {}): UnderspanError {
  try {
    parse(text, environment);
  } catch (error) {
    assert.ok(error instanceof UnderspanError, String(error));
    assert.equal(error.kind, 'usage');
    assert.equal(error.code, 'CONFIG_INVALID');
    return error;
  }
  return assert.fail(`was taken: ${text}`);
}

/** One rule with this selection and this to trace. */
const rule = (select: string, trace: string): string =>
  `rules:\n  - name: a\n    select: ${select}\n    trace: ${trace}\n`;
const selecting = (select: string): string => rule(select, '{ symbols: main.* }');
const tracing = (trace: string): string => rule('{ service: shop }', trace);

test('a rule may name functions of the kernel', () => {
  const { trace } = parse(tracing('{ symbols: [main.*, kernel:tcp_*], exclude: kernel:tcp_v4_* }'))
    .config.rules[0]!;
  assert.deepEqual(trace.symbols, ['main.*', 'kernel:tcp_*']);
  assert.deepEqual(trace.exclude, ['kernel:tcp_v4_*']);
});

test('an agent that is told a rule alone does as little as it may', () => {
  assert.deepEqual(parse(RULE).config, {
    rules: [
      {
        name: 'shop',
        select: {
          executables: ['/usr/bin/shop'],
          commands: [],
          services: [],
          containerImages: [],
          containerNames: [],
          namespaces: [],
          labels: {},
          owners: [],
        },
        trace: {
          symbols: ['main.*'],
          exclude: [],
          args: [],
          returns: false,
          stack: false,
          waits: false,
          gc: false,
          allocations: false,
          errorText: false,
          errors: null,
          redact: [],
          minDurationNs: 0,
          slowerThanNs: null,
          errorsOnly: false,
          span: null,
          where: [],
          fold: 20,
          sample: 1,
          maxRate: 100,
          entryOnly: false,
          contextHops: 32,
          emulateReturns: true,
          returnTrampoline: false,
          roots: false,
          unsampled: false,
          followForks: true,
          maxOverhead: 0.05,
        },
        hold: false,
        http: [],
      },
    ],
    export: { otlp: { endpoint: null, protocol: null }, queueBytes: 64 << 20, spool: null },
    metrics: { listen: { host: '0.0.0.0', port: 9464 }, maxSeries: 1_000 },
    control: {
      socket: '/run/underspan/agent.sock',
      network: null,
      maxDurationMs: 600_000,
      maxSessions: 4,
      auditLog: null,
    },
    kubernetes: { source: 'auto', nodeName: null, url: null },
    log: { level: 'info' },
    limits: {
      functions: null,
      maxOverhead: 0.1,
      transport: 'ring',
      ringBytes: 8 << 20,
      idleMs: 600_000,
    },
  });
});

test('the example says what it seems to say', async () => {
  const { config } = await readConfig(EXAMPLE, { NODE_NAME: 'node-7' });
  const [checkout, payments] = config.rules;
  assert.deepEqual(checkout?.select.labels, { 'app.kubernetes.io/part-of': 'shop*' });
  assert.deepEqual(checkout?.select.owners, ['Deployment/checkout']);
  assert.equal(checkout?.trace.minDurationNs, 1e6);
  assert.equal(checkout?.trace.sample, 0.1);
  assert.equal(checkout?.trace.maxOverhead, 0.02);
  assert.deepEqual(checkout?.http, [{ symbol: 'main.(*Server).Checkout', route: '/checkout' }]);
  assert.equal(payments?.trace.slowerThanNs, 500e6);
  assert.deepEqual(config.export, {
    otlp: { endpoint: 'http://localhost:4317', protocol: 'grpc' },
    queueBytes: 64 << 20,
    spool: { directory: '/var/lib/underspan/spool', maxBytes: 512 << 20 },
  });
  assert.deepEqual(config.control.network, {
    listen: { host: '0.0.0.0', port: 9465 },
    certificate: '/etc/underspan/tls/tls.crt',
    key: '/etc/underspan/tls/tls.key',
    clientAuthority: '/etc/underspan/tls/ca.crt',
    kubernetesTokens: true,
  });
  assert.equal(config.kubernetes.nodeName, 'node-7');
});

test('what can be switched off is switched off by false', () => {
  const { config } = parse(
    `${tracing('{ symbols: main.*, redact: false }')}
export: { otlp: false, spool: false }
metrics: { listen: false }
control: { socket: false, network: false }
`,
  );
  assert.equal(config.rules[0]?.trace.redact, null);
  assert.equal(config.export.otlp, null);
  assert.equal(config.export.spool, null);
  assert.equal(config.metrics.listen, null);
  assert.equal(config.control.socket, null);
  assert.equal(config.control.network, null);
});

test('a section without anything in it is as though it were not there', () => {
  assert.deepEqual(parse(`${RULE}metrics:\nlog:\n  # level: debug\n`).config, parse(RULE).config);
});

test('addresses', () => {
  const listen = (text: string): unknown =>
    parse(`${RULE}metrics: { listen: '${text}' }`).config.metrics.listen;
  assert.deepEqual(listen('127.0.0.1:0'), { host: '127.0.0.1', port: 0 });
  assert.deepEqual(listen('[::1]:9464'), { host: '::1', port: 9464 });
  assert.deepEqual(listen('node:80'), { host: 'node', port: 80 });
  for (const bad of ['9464', '::', 'a:', ':65536', '[::1', 'http://a:1', 'a b:1']) {
    assert.match(refusal(`${RULE}metrics: { listen: '${bad}' }`).message, /is no address/, bad);
  }
});

/** Text, then all that is wrong with it. */
const BAD: [string, ...string[]][] = [
  ['', '1:1: the file is empty'],
  ['# nothing\n', '1:1: the file is empty'],
  ['- a', '1:1: the file must be keys with values, not a list'],
  ['text', "1:1: the file must be keys with values, not 'text'"],
  ['metrics: {}', "1:1: 'rules' is missing"],
  ['rules:\n', "1:1: 'rules' is missing"],
  [`${RULE}metrcs: {}`, "5:1: unknown key 'metrcs'; did you mean 'metrics'?"],
  [
    `${RULE}colour: red`,
    "5:1: unknown key 'colour'; there are rules, export, metrics, control, kubernetes, log, limits",
  ],
  [
    'rules:\n  - name: a\n    select: { service: a }\n    symbols: main.*\n    trace: {}',
    "4:5: unknown key 'symbols' in rule 1; it belongs in 'trace'",
    "5:12: 'symbols' is missing",
  ],
  [
    selecting('{ sevice: a, command: b }'),
    "3:15: unknown key 'sevice' in 'select'; did you mean 'service'?",
  ],
  ['rules: { name: a }', "1:8: 'rules' must be a list, not keys with values"],
  ['rules: [5]', '1:9: rule 1 must be keys with values, not 5'],
  [
    'rules:\n  - {}',
    "2:5: 'name' is missing",
    "2:5: 'select' is missing",
    "2:5: 'trace' is missing",
  ],
  // Selections.
  [selecting('{}'), "3:13: the selection is empty; to take every process write executable: '*'"],
  [
    selecting('{ labels: {} }'),
    "3:13: the selection is empty; to take every process write executable: '*'",
  ],
  [selecting('{ executable: [] }'), "3:27: 'executable' is empty"],
  [selecting("{ service: '' }"), "3:24: 'service' is empty"],
  [
    selecting('{ service: 5 }'),
    "3:24: 'service' must be text, or a list of texts, not 5; put it in quotes",
  ],
  [
    selecting('{ service: [a, true] }'),
    "3:28: an element of 'service' must be text, not true; put it in quotes",
  ],
  [
    selecting('{ executable: bin/shop }'),
    "3:27: 'bin/shop' is no absolute path, and would match nothing; write '*/bin/shop'",
  ],
  [
    selecting("{ executable: ['/ok', './shop'] }"),
    "3:35: './shop' is no absolute path, and would match nothing; write '*/shop'",
  ],
  [
    selecting("{ executable: '/[ab' }"),
    "3:27: '/[ab' has a '[' that is not closed; '[[]' matches the bracket itself",
  ],
  [selecting("{ command: 'a[z-a]' }"), "3:24: 'a[z-a]' has the range 'z-a', which is empty"],
  [
    selecting('{ owner: checkout }'),
    "3:22: 'checkout' has no kind, and would match nothing; write 'Deployment/checkout' or '*/checkout'",
  ],
  [selecting("{ labels: { 'a b': x } }"), "3:25: 'a b' is no key of a label"],
  [selecting('{ labels: { app: 1.10 } }'), "3:30: 'app' must be text, not 1.1; put it in quotes"],
  [selecting('{ labels: [app] }'), "3:23: 'labels' must be labels and globs, not a list"],
  [
    selecting('{ executable: *shop }'),
    "3:27: '*shop' refers to nothing; put a value that begins with * in quotes: '*shop'",
  ],
  [selecting('{ executable: * }'), '3:27: put a value that begins with * in quotes'],
  // What to trace.
  [tracing('{ symbols: [] }'), "4:23: 'symbols' is empty"],
  [tracing("{ symbols: ['main.*', ''] }"), "4:34: an element of 'symbols' is empty"],
  [
    tracing("{ symbols: ['main.*', '/(/'] }"),
    "4:34: pattern '/(/' is not a regular expression: Unterminated group; expressions are those of JavaScript; a backslash makes the next character literal",
  ],
  [
    `${RULE}    http: [{ symbol: 'kernel:vfs_read', route: /a }]`,
    "5:22: 'kernel:vfs_read': functions of the kernel cannot be meant here; leave out what stands before the colon",
  ],
  [
    tracing('{ symbols: a, minDuration: 5 }'),
    "4:39: '5' is not a duration; write a number with its unit: '500us', '1ms', '30s', '1m30s'",
  ],
  [
    tracing('{ symbols: a, slowerThan: [1s] }'),
    "4:38: 'slowerThan' must be a duration such as 1ms, not a list",
  ],
  [
    tracing('{ symbols: a, sample: 110% }'),
    "4:34: '110%' is not a share; write it from 0 to 1, or in percent: '0.1', '10%'",
  ],
  [
    tracing('{ symbols: a, maxRate: -1 }'),
    "4:35: '-1' is not a rate; write a number: '100', '0.5'",
  ],
  [tracing('{ symbols: a, maxOverhead: 0% }'), "4:39: '0%' would allow nothing; write more"],
  [
    'rules:\n  - name: a\n    select: { service: a }\n    trace: { symbols: a }\n    hold: true',
    "5:11: needs an 'executable', or every process on the host would be stopped",
  ],
  [
    "rules:\n  - name: a\n    select: { executable: '/opt/shop/*' }\n    trace: { symbols: a }\n    hold: true",
    "5:11: would stop processes of any name, since the file name in '/opt/shop/*' begins with a wildcard",
  ],
  [tracing('{ symbols: a, contextHops: 101 }'), "4:39: 'contextHops' must be at most 100, not 101"],
  [tracing('{ symbols: a, contextHops: 0 }'), "4:39: 'contextHops' must be at least 1, not 0"],
  [
    tracing('{ symbols: a, contextHops: 1.5 }'),
    "4:39: 'contextHops' must be a whole number, not 1.5",
  ],
  [tracing('{ symbols: a, roots: yes }'), "4:33: 'roots' must be true or false, not 'yes'"],
  [
    tracing('{ symbols: a, redact: true }'),
    "4:34: 'redact' must be a list of names, or false, not true",
  ],
  [
    tracing('{ symbols: a, redact: [1] }'),
    "4:35: an element of 'redact' must be text, not 1; put it in quotes",
  ],
  [
    `${RULE}    http: [{ symbol: main.f, rout: /a }]`,
    "5:12: 'route' is missing",
    "5:30: unknown key 'rout' in an element of 'http'; did you mean 'route'?",
  ],
  // The agent itself.
  [`${RULE}log: { level: wran }`, "5:15: 'level' cannot be 'wran'; did you mean 'warn'?"],
  [
    `${RULE}log: { level: loud }`,
    "5:15: 'level' cannot be 'loud'; write debug, info, warn or error",
  ],
  [
    `${RULE}export: { otlp: { protocol: http } }`,
    "5:29: 'protocol' cannot be 'http'; write grpc or http/protobuf",
  ],
  [
    `${RULE}export: { otlp: { endpoint: collector:4317 } }`,
    "5:29: 'collector:4317' is no URL; write one such as 'http://collector:4317'",
  ],
  [`${RULE}export: { otlp: true }`, "5:17: 'otlp' must be keys with values, or false, not true"],
  [
    `${RULE}export: { spool: { size: 5Q } }`,
    "5:18: 'directory' is missing",
    "5:26: '5Q' is not a size; write a number with its unit: '64KiB', '8MiB', '1GiB'",
  ],
  [
    `${RULE}export: { spool: { directory: spool } }`,
    "5:31: 'spool' is no absolute path; it must begin with a slash",
  ],
  [`${RULE}metrics: { maxSeries: many }`, "5:23: 'maxSeries' must be a whole number, not 'many'"],
  [
    `${RULE}control: { network: { listen: ':1', tls: { certificate: /c, key: /k } } }`,
    '5:21: nobody could enter; write tls.clientAuthority or kubernetesTokens: true',
  ],
  [
    `${RULE}limits: { ringSize: 3MiB, idle: 30d }`,
    "5:21: '3MiB' is no size for a ring buffer; write a power of two from 4K to 1G: 8M",
    "5:33: '30d' is not a duration; write a number with its unit: '500us', '1ms', '30s', '1m30s'",
  ],
  // Rules that say the same.
  [
    `${RULE}  - name: shop\n    select: { service: b }\n    trace: { symbols: a }`,
    "5:11: the rule of line 2 is named 'shop' too",
  ],
  [
    `${selecting('{ service: [a, b], labels: { x: y, v: w } }')}  - name: b
    select: { labels: { v: w, x: y }, service: [b, a] }
    trace: { symbols: a, maxRate: -1 }`,
    '6:5: the rule of line 3 selects the same, so that this one would never apply',
    "7:35: '-1' is not a rate; write a number: '100', '0.5'",
  ],
  // YAML.
  [`${RULE}log: {}\nlog: {}`, "6:1: the key 'log' is here twice"],
  [`${RULE}log:\n\tlevel: info`, '6:1: tabs cannot indent YAML; use spaces'],
  [
    `${RULE}---\nlog: {}`,
    "5:1: the file holds more than one document; leave out what begins at this '---'",
  ],
  [`${RULE}? [a]\n: b`, '5:3: keys must be text; put this one in quotes'],
  [`${RULE}__proto__: b`, "5:1: '__proto__' cannot be a key"],
  [selecting('{ labels: { __proto__: x } }'), "3:25: '__proto__' cannot be a key"],
  ['rules: &a [*a]', "1:12: '*a' refers to what holds it"],
];

test('every mistake has its place, what is wrong and the word that was meant', () => {
  for (const [text, ...lines] of BAD) {
    const found = refusal(text).message.split('\n');
    assert.deepEqual([text, ...found], [text, ...lines.map((line) => `a.yaml:${line}`)]);
  }
});

test('the command line shows a problem a line', () => {
  assert.equal(
    renderError(refusal(`${RULE}a: 1\nrule: 2`), false),
    `trace: a.yaml:5:1: unknown key 'a'; there are rules, export, metrics, control, kubernetes, log, limits
a.yaml:6:1: unknown key 'rule'; did you mean 'rules'?
  docs/agent-configuration.md describes every key
`,
  );
});

test('many problems are cut off, and what they quote cannot look like one', () => {
  const keys = Array.from({ length: 60 }, (_, i) => `zzzzzz${i}: 1`).join('\n');
  const lines = refusal(`${RULE}${keys}`).message.split('\n');
  assert.equal(lines.length, 51);
  assert.equal(lines.at(-1), 'and 10 more');
  const quoted = refusal(selecting('{ executable: "a\\nb\\e" }')).message;
  assert.match(quoted, /^a\.yaml:3:27: 'a\ufffdb\ufffd' is no absolute path/);
});

test('files that would take too long, or too much, are refused', () => {
  const large = `${RULE}# ${'x'.repeat(1 << 20)}`;
  assert.equal(refusal(large).message, 'a.yaml:1:1: the file is larger than 1 MiB');
  // Where the stack is full, V8 ends the process instead of throwing.
  const deep = [
    '['.repeat(1_000),
    'a: {'.repeat(1_000),
    '- '.repeat(1_000),
    '? '.repeat(1_000),
    'a: '.repeat(1_000),
    Array.from({ length: 1_000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
  ];
  for (const text of deep) {
    assert.match(refusal(text).message, /^a\.yaml:\d+:\d+: this is nested too deeply$/);
  }
  const levels = Array.from(
    { length: 12 },
    (_, i) => `l${i + 1}: &l${i + 1} [${Array(10).fill(`*l${i}`).join(', ')}]`,
  );
  const bomb = `l0: &l0 x\n${levels.join('\n')}\n`;
  assert.equal(refusal(bomb).message, 'a.yaml:2:10: aliases would repeat too much');
  const long = selecting(`{ service: ${'x'.repeat(4_097)} }`);
  assert.equal(refusal(long).message, "a.yaml:3:24: 'service' is longer than 4096 characters");
  // Each looks for an end that there is not.
  const open = `${RULE}kubernetes: { nodeName: '${'${'.repeat(100_000)}' }`;
  assert.equal(refusal(open).message, "a.yaml:5:25: 'nodeName' is longer than 4096 characters");
  const aliases = `a: [&a x${', *a'.repeat(1_100)}]`;
  assert.match(refusal(aliases).message, /^a\.yaml:1:4011: the file has more than 1000 aliases$/);
  const keys = Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join('\n');
  assert.match(refusal(keys).message, /and 19951 more$/);
});

test('aliases share what is written once', () => {
  const { config } = parse(
    `rules:
  - name: a
    select: { service: a }
    trace: &trace { symbols: main.* }
  - name: b
    select: { service: b }
    trace: *trace
`,
  );
  assert.deepEqual(config.rules[1]?.trace, config.rules[0]?.trace);
});

test('values come from the environment', () => {
  const environment = {
    VALUE: 'value',
    EMPTY: '',
    NUMBER: '7',
    REFERENCE: '${VALUE}',
    DOLLARS: 'value$$',
    LINES: 'a\nlog: {level: debug}',
  };
  const name = (written: string): string | null =>
    parse(`${RULE}kubernetes: { nodeName: ${JSON.stringify(written)} }`, environment).config
      .kubernetes.nodeName;
  const table: [string, string][] = [
    ['${env:VALUE}', 'value'],
    ['${VALUE}', 'value'],
    ['a-${env:VALUE}-${env:NUMBER}', 'a-value-7'],
    ['${env:MISSING:-fallback}', 'fallback'],
    ['${env:EMPTY:-fallback}', 'fallback'],
    ['${env:VALUE:-fallback}', 'value'],
    ['a${env:MISSING}', 'a'],
    ['${REFERENCE}', '${VALUE}'],
    ['${DOLLARS}', 'value$$'],
    ['${MISSING:-${VALUE}}', '${VALUE}'],
    ['$${VALUE}', '${VALUE}'],
    ['$$${VALUE}', '$value'],
    ['$$$${VALUE}', '$${VALUE}'],
    ['$${VALUE:-${VALUE}}', '${VALUE:-value}'],
    ['${MISSING:-$${MISSING}}', '${MISSING:-${MISSING}}'],
    ['a $$ b', 'a $ b'],
    ['a $ b', 'a $ b'],
    ['a${', 'a${'],
    ['${}', '${}'],
    ['${constructor:-own}', 'own'],
    ['${LINES}', 'a\nlog: {level: debug}'],
  ];
  for (const [written, expected] of table) assert.equal(name(written), expected, written);

  const limits = (written: string): number | null =>
    parse(`${RULE}limits:\n  functions: ${written}`, environment).config.limits.functions;
  assert.equal(limits('${env:NUMBER}'), 7);
  assert.equal(limits('${env:MISSING}'), null);
  assert.equal(
    refusal(`${RULE}limits:\n  functions: '\${env:NUMBER}'`, environment).message,
    "a.yaml:6:14: 'functions' must be a whole number, not '7'",
  );
  assert.equal(
    refusal(`${RULE}log:\n  level: \${env:VALUE}`, environment).message,
    "a.yaml:6:10: 'level' cannot be 'value'; write debug, info, warn or error",
  );
  assert.equal(
    refusal(`${RULE}log:\n  level: \${env:VALUE:?no}\n  \${VALUE}: x`, environment).message,
    "a.yaml:6:10: '${env:VALUE:?no}' is no reference to the environment; " +
      "write ${env:NAME} or ${env:NAME:-default}, and '$$' for a dollar sign",
  );
  // Keys are left as they are.
  assert.match(refusal(`${RULE}\${VALUE}: x`, environment).message, /unknown key '\$\{VALUE\}'/);
});

test('what is only known at run time finds its place again', () => {
  const parsed = parse(
    `rules:
  - name: a
    select: { service: a }
    trace:
      symbols: &symbols
        - main.*
        - 'main.serve'
  - name: b
    select: { service: b }
    trace: { symbols: main.handle, exclude: *symbols }
`,
  );
  const places: [(string | number)[], string][] = [
    [['rules', 0, 'trace', 'symbols', 0], 'a.yaml:6:11'],
    [['rules', 0, 'trace', 'symbols', 1], 'a.yaml:7:11'],
    [['rules', 1, 'trace', 'symbols', 0], 'a.yaml:10:23'],
    // Where the text stands, not where it is referred to.
    [['rules', 1, 'trace', 'exclude', 1], 'a.yaml:7:11'],
    [['rules', 1], 'a.yaml:8:5'],
    [['rules', 1, 'http'], 'a.yaml:8:5'],
    [['limits', 'functions'], 'a.yaml:1:1'],
    [[], 'a.yaml:1:1'],
  ];
  for (const [path, place] of places) assert.equal(parsed.placeOf(path), place, path.join('.'));
  assert.deepEqual(parsed.positionOf(['rules', 0, 'trace', 'symbols', 1]), { line: 7, column: 11 });
});

test('files are read, or it is said why they cannot be', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'underspan-config-'));
  try {
    const file = join(directory, 'agent.yaml');
    writeFileSync(file, `${RULE}log: 5`);
    await assert.rejects(readConfig(file), (error: UnderspanError) => {
      assert.equal(error.message, `${file}:5:6: 'log' must be keys with values, not 5`);
      return true;
    });
    writeFileSync(file, `\ufeff${RULE}`);
    assert.equal((await readConfig(file)).config.rules.length, 1);
    await assert.rejects(readConfig(join(directory, 'none')), {
      kind: 'not-found',
      code: 'CONFIG_UNREADABLE',
    });
    await assert.rejects(readConfig(directory), { kind: 'usage', code: 'CONFIG_UNREADABLE' });
    await assert.rejects(readConfig('/dev/zero'), /larger than 1 MiB/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('globs', () => {
  const table: [string, string[], string[]][] = [
    ['shop', ['shop'], ['', 'Shop', 'shop2', 'ashop']],
    ['*', ['', 'a', '/a/b', 'a\nb'], []],
    [
      '/usr/*/shop',
      ['/usr/bin/shop', '/usr/a/b/shop', '/usr//shop'],
      ['/usr/shop', '/usr/a/shops'],
    ],
    ['*shop*', ['shop', 'a shop b', 'shoshop'], ['sho', 'shp']],
    ['a?c', ['abc', 'a/c', 'a😀c'], ['ac', 'abbc']],
    ['*a*b*a', ['aba', 'xaxbxbxa', 'abaa'], ['ab', 'ba', 'aa']],
    ['[abc]x', ['ax', 'cx'], ['dx', 'x', '[abc]x']],
    ['[a-c0]', ['a', 'b', '0'], ['-', 'd']],
    ['[!a-c]', ['d', '!'], ['a', '', 'dd']],
    ['[]]', [']'], ['[']],
    ['[!]]', ['a'], [']']],
    ['[[]*[-]', ['[-', '[a-'], ['[', '-']],
    ['a.b+(c)', ['a.b+(c)'], ['axb+(c)', 'a.bb(c)']],
    ['**a**', ['a', 'ba'], ['b']],
  ];
  for (const [glob, fitting, others] of table) {
    const fits = compileGlob(glob);
    for (const value of fitting) assert.ok(fits(value), `${glob} fits ${value}`);
    for (const value of others) assert.ok(!fits(value), `${glob} does not fit ${value}`);
  }
  for (const bad of ['', 'a[', '[]', '[!]', 'a[b', '[b-a]']) {
    assert.throws(() => compileGlob(bad), InvalidGlob, bad);
  }
});

test('a glob that a backtracking matcher would never finish', () => {
  assert.ok(!compileGlob(`${'*a'.repeat(50)}b`)('a'.repeat(100_000)));
});

test('the published schema and the reference say what the code does', () => {
  execFileSync(process.execPath, ['scripts/generate-config-docs.mjs', '--check'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
});

/** The same numbers on every run. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

for (const file of ['deploy/agent.yaml', 'deploy/kubernetes/base/agent.yaml']) {
  test(`${file} is right`, async () => {
    const { config } = await readConfig(file, {});
    assert.notEqual(config.export.otlp, null);
  });
}

test('whatever a file holds, it is taken or refused with its problems', () => {
  const example = readFileSync(EXAMPLE, 'utf8');
  const next = seeded(20);
  const pieces = [...':[]{}*&!|>%@`\'",#?-\t\n $~'].concat([
    '- ',
    ': ',
    '${',
    '$$',
    '<<: ',
    '---\n',
  ]);
  pieces.push(
    '!!binary ',
    '!x ',
    '&a ',
    '*a',
    'null',
    '.nan',
    '0x7',
    '\0',
    '\ud800',
    '__proto__: ',
  );
  let taken = 0;
  for (let run = 0; run < 600; run++) {
    let text = example;
    for (let edits = 1 + next(4); edits > 0; edits--) {
      const from = next(text.length);
      const to = from + next(3) * next(12);
      const piece = next(3) > 0 ? (pieces[next(pieces.length)] ?? '') : '';
      text = text.slice(0, from) + piece + text.slice(to);
    }
    try {
      parse(text);
      taken++;
    } catch (error) {
      if (!(error instanceof UnderspanError)) throw new Error(text, { cause: error });
      for (const line of error.message.split('\n')) {
        assert.match(line, /^a\.yaml:[1-9]\d*:[1-9]\d*: .|^and \d+ more$/, text);
      }
    }
  }
  assert.ok(taken > 20 && taken < 580, `${taken} were taken`);
});
