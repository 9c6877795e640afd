import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import type { Features } from '../../src/native/native.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import { addressOf, readKernelFunctions } from '../../src/plan/kernel-functions.js';
import { kernelWay, planKernel } from '../../src/plan/kernel-plan.js';
import { listKernelFunctions } from '../../src/plan/list-kernel.js';
import { KERNEL, MAIN, requestFor } from '../../src/plan/module-role.js';
import type { ErrorMode } from '../../src/plan/error-modes.js';
import type { PlanRequest } from '../../src/plan/plan-module.js';
import { ErrorKind, ValueKind } from '../../src/spans/records.generated.js';
import type { ModulePlan } from '../../src/plan/plan.js';
import { parsePattern } from '../../src/symbols/patterns.js';

const root = mkdtempSync(join(tmpdir(), 'underspan-kernel-plan-'));
after(() => rmSync(root, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

write(
  'proc/kallsyms',
  `0000000000000000 A __per_cpu_start
ffffffff81000000 T _text
ffffffff812a0000 T vfs_write
ffffffff812a0000 T vfs_write_alias
ffffffff812a0100 T __pfx_vfs_read
ffffffff812a0110 T vfs_read
ffffffff812a0200 t vfs_read.cold
ffffffff812a0300 t helper.isra.0
ffffffff812a0400 T no_trace
ffffffff812a0500 T forbidden
ffffffff812b0000 D some_data
ffffffff83000000 T _sinittext
ffffffff83000010 t vfs_setup
ffffffff83100000 T _einittext
ffffffffc0200000 t nf_hook	[nf_tables]
`,
);
write(
  'sys/kernel/tracing/available_filter_functions',
  'vfs_write\nvfs_write_alias\nvfs_read\nhelper.isra.0\nforbidden\nnf_hook [nf_tables]\n',
);
write('sys/kernel/debug/kprobes/blacklist', '0xffffffff812a0500-0xffffffff812a0510\tforbidden\n');

const features = (has: Partial<Features>): Features =>
  ({ kprobes: false, kprobeMulti: false, fentry: false, ...has }) as Features;
const MULTI = features({ kprobes: true, kprobeMulti: true, fentry: true });
const OLD = features({ kprobes: true, fentry: true });

const request = (patterns: string[], more: Partial<PlanRequest> = {}): PlanRequest => ({
  patterns: patterns.map((text) => parsePattern(text)),
  handlers: [],
  excludes: [],
  entryOnly: false,
  trampolines: 'never',
  waits: false,
  gc: false,
  allocations: false,
  values: { args: [], returns: false, errors: null, stack: false, redact: null },
  costs: ASSUMED_COSTS,
  maxFunctions: 100,
  maxSites: 100,
  ...more,
});

const functions = readKernelFunctions(root);
const NATIVE = { kernelValues: () => Promise.resolve([]) };
const plan = (patterns: string[], has = MULTI, more = {}): Promise<ModulePlan> =>
  planKernel(NATIVE, has, request(patterns, more), functions);
const names = ({ functions }: ModulePlan): string[] => functions.map(({ name }) => name);

const fails = (code: string, message: RegExp) => (error: unknown) =>
  error instanceof UnderspanError && error.code === code && message.test(error.message);

test('functions of the kernel have exact addresses, and what is no function is left out', () => {
  assert.equal(functions.names.length, functions.addresses.length);
  const at = functions.names.indexOf('vfs_write');
  assert.equal(addressOf(functions.addresses[at] ?? 0), 0xffffffff812a0000n);
  for (const name of ['__pfx_vfs_read', 'vfs_read.cold', 'some_data', 'vfs_setup']) {
    assert(!functions.names.includes(name), name);
  }
  assert(functions.names.includes('nf_hook'));
});

test('addresses that the kernel hides are an error that says how to see them', () => {
  const hiding = mkdtempSync(join(root, 'hiding-'));
  mkdirSync(join(hiding, 'proc'));
  writeFileSync(join(hiding, 'proc/kallsyms'), '0000000000000000 T vfs_write\n');
  assert.throws(
    () => readKernelFunctions(hiding),
    (error) => error instanceof UnderspanError && /CAP_SYSLOG/.test(error.hint ?? ''),
  );
});

test('one of two aliases is traced, also of functions of modules', async () => {
  assert.deepEqual(names(await plan(['kernel:vfs_*'])), ['kernel:vfs_write', 'kernel:vfs_read']);
  assert.deepEqual(names(await plan(['kernel:/hook$/'])), ['kernel:nf_hook']);
});

test('what cannot carry a probe is refused with the reason', async () => {
  const mixed = await plan(['kernel:vfs_read', 'kernel:no_trace', 'kernel:forbidden']);
  assert.deepEqual(names(mixed), ['kernel:vfs_read']);
  assert.match(mixed.notices[0]?.message ?? '', /kernel:no_trace is not traced: it is left out/);
  assert.deepEqual((await plan(['kernel:*e*'])).notices, []);
  assert.match(mixed.refused[0]?.reason ?? '', /function tracing/);
  assert.match(mixed.refused[1]?.reason ?? '', /must not carry a probe/);
  await assert.rejects(
    () => plan(['kernel:no_trace']),
    fails('NOTHING_TRACEABLE', /no_trace is left out/),
  );
  // A kprobe of its own needs no place that the compiler has made for tracing.
  assert.equal((await plan(['kernel:no_trace'], features({ kprobes: true }))).functions.length, 1);
  // BTF tells functions by their names in the source.
  await assert.rejects(
    () => plan(['kernel:helper.isra.0'], OLD),
    fails('NOTHING_TRACEABLE', /copy/),
  );
});

test('a pattern that matches nothing is an error, or beside others a notice', async () => {
  await assert.rejects(() => plan(['kernel:vfs_wirte']), fails('NO_FUNCTION_MATCHES', /vfs_wirte/));
  assert.deepEqual(
    (await plan(['kernel:vfs_read', 'kernel:gone'])).notices.map(({ code }) => code),
    ['NO_FUNCTION_MATCHES'],
  );
});

test('a kernel without any of it says so', async () => {
  await assert.rejects(
    () => planKernel(NATIVE, features({}), request(['kernel:vfs_write'])),
    fails('KERNEL_FUNCTIONS_UNSUPPORTED', /neither kprobes/),
  );
});

test('the way depends on what there is and on how many functions are meant', async () => {
  assert.equal(kernelWay(MULTI, 5_000), 'multi');
  assert.equal(kernelWay(OLD, 10), 'trampoline');
  assert.equal(kernelWay(OLD, 100), 'single');
  assert.equal(kernelWay(features({ fentry: true }), 100), 'trampoline');
  await assert.rejects(
    () => plan(['kernel:*'], MULTI, { maxFunctions: 2 }),
    fails('TOO_MANY_FUNCTIONS', /more than the 2 that are allowed/),
  );
});

test('not all of the kernel is traced at once, whatever limit is asked for', async () => {
  const names = Array.from({ length: 1_100 }, (_, index) => `net_${index}`);
  const many = {
    names,
    addresses: Float64Array.from(names, (_, index) => -4096 + index),
    hooked: new Set(names.slice(0, 1_050)),
    forbidden: new Set<string>(),
  };
  const planned = (exclude: string[]): Promise<ModulePlan> =>
    planKernel(
      NATIVE,
      MULTI,
      request(['kernel:net_*'], {
        maxFunctions: 4_000,
        excludes: exclude.map((text) => parsePattern(text)),
      }),
      many,
    );
  await assert.rejects(
    () => planned([]),
    fails('TOO_MANY_FUNCTIONS', /1,050 .* more than the 1,000 .* whatever runs on this host pays/),
  );
  assert.equal((await planned(['kernel:net_9*'])).functions.length, 939);
});

test('functions of the kernel are listed with what keeps them from being traced', () => {
  const list = (texts: string[], has = MULTI) =>
    listKernelFunctions(
      has,
      texts.map((text) => parsePattern(text)),
      functions,
    );
  const reasons = (texts: string[], has?: Features): Record<string, string | null> =>
    Object.fromEntries(list(texts, has).functions.map(({ name, reason }) => [name, reason]));
  assert.deepEqual(reasons(['kernel:vfs_*', 'kernel:forbidden', 'kernel:no_trace']), {
    'kernel:vfs_write': null,
    'kernel:vfs_read': null,
    'kernel:no_trace': 'is left out of function tracing',
    'kernel:forbidden': 'must not carry a probe (it is on the list of the kernel)',
  });
  assert.match(reasons(['kernel:helper*'], OLD)['kernel:helper.isra.0'] ?? '', /copy/);
  assert.match(
    reasons(['kernel:nf_hook'], features({}))['kernel:nf_hook'] ?? '',
    /neither kprobes/,
  );
  assert.deepEqual(list(['kernel:vfs_*', 'kernel:gone']).counts, [3, 0]);
});

test('patterns go to the module that they name', () => {
  const both = request(['main.*', 'kernel:vfs_*']);
  const texts = ({ patterns }: PlanRequest): string[] => patterns.map(({ text }) => text);
  assert.deepEqual(texts(requestFor(both, KERNEL, 'the kernel')), ['kernel:vfs_*']);
  assert.deepEqual(texts(requestFor(both, MAIN, '/bin/shop')), ['main.*']);
});

test('arguments are read as BTF says, and what looks like a secret is not', async () => {
  const value = { function: 0, parameters: 4, reason: null, size: 8, type: 'size_t' };
  const native = {
    kernelValues: (functions: string[], paths: string[], results: boolean) => {
      assert.deepEqual([functions, paths], [['vfs_read'], ['count', 'key.token', 'file.gone']]);
      assert.equal(results, false);
      return Promise.resolve([
        { ...value, path: 'count', register: 2, steps: [], kind: 'uint' as const },
        { ...value, path: 'key.token', register: 1, steps: [8], kind: 'uint' as const },
        {
          ...{ ...value, path: 'file.gone', register: 0, steps: [], kind: 'uint' as const },
          reason: 'has no field gone',
        },
      ]);
    },
  };
  const args = ['count', 'key.token', 'file.gone'];
  const values = { args, returns: false, errors: null, stack: false, redact: [] };
  const planned = await planKernel(
    native,
    MULTI,
    request(['kernel:vfs_read'], { values }),
    functions,
  );
  const [first] = planned.functions;
  assert.equal(first?.parameters, 4);
  assert.deepEqual(
    first?.values.arguments.map(({ attribute, redacted, plan }) => [
      attribute,
      redacted,
      plan.at,
      plan.path,
    ]),
    [
      ['underspan.arg.count', false, 2, []],
      ['underspan.arg.key.token', true, 1, [8]],
    ],
  );
  assert.match(planned.notices[0]?.message ?? '', /file\.gone of kernel:vfs_read .* no field gone/);
});

test('what is asked for by name may be text, and what is returned an error', async () => {
  const value = { function: 0, parameters: 4, reason: null, steps: [], register: 1 };
  const native = {
    kernelValues: (_: string[], paths: string[], results: boolean) => {
      assert.deepEqual([paths, results], [['buf', '*'], true]);
      return Promise.resolve([
        { ...value, path: 'buf', kind: 'text' as const, size: 8, type: 'pointer' },
        { ...value, path: 'buf', kind: 'pointer' as const, size: 8, type: 'pointer' },
        { ...value, path: '', register: 0, kind: 'int' as const, size: 4, type: 'int' },
      ]);
    },
  };
  const planned = async (returns: boolean, errors: ErrorMode[] | null) => {
    const values = { args: ['*', 'buf'], returns, errors, stack: false, redact: [] };
    const { functions: found } = await planKernel(
      native,
      MULTI,
      request(['kernel:vfs_read'], { values }),
      functions,
    );
    return found[0]!.values;
  };
  const both = await planned(true, ['err', 'negative']);
  assert.deepEqual(
    both.arguments.map(({ attribute, plan }) => [attribute, plan.kind]),
    [['underspan.arg.buf', ValueKind.CSTRING]],
  );
  assert.deepEqual(
    both.results.map(({ attribute, type }) => [attribute, type]),
    [['underspan.return.0', { shape: 'int', skip: 0, size: 4 }]],
  );
  assert.equal(both.error?.kind, ErrorKind.NEGATIVE);
  const errors = await planned(false, ['negative']);
  assert.deepEqual([errors.results.length, errors.error?.size], [0, 4]);
  assert.equal((await planned(true, ['null'])).error, null);
});
