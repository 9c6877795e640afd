import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import {
  type Build,
  codeOfAll,
  compile,
  sharesOf,
  sharesText,
  stepperPlan,
  SOURCES,
  step,
} from '../tools/native-code.js';
import { missingCommands } from '../tools/require.js';

const C = 'functions.c';
const CXX = 'functions.cc';
const RUST = 'functions.rs';
const LLD = '-fuse-ld=lld';
const of = (compiler: string, source: string, ...options: string[]): Build => ({
  name: [compiler, ...options].join(' '),
  compiler,
  source,
  options,
});

/** Each is executed instruction by instruction, so that those of C++ take seconds. */
const builds: Build[] = [
  ...['gcc', 'clang'].flatMap((compiler) => [
    ...['-O0', '-O2', '-Os'].map((level) => of(compiler, C, level)),
    of(compiler, C, '-O2', '-fcf-protection=full', '-fno-plt'),
    of(compiler, C, '-O2', '-fno-pie', '-no-pie'),
    of(compiler, C, '-O2', '-flto', ...(compiler === 'clang' ? [LLD] : [])),
    of(compiler, C, '-O2', '-fpatchable-function-entry=5,2', '-fstack-protector-all'),
  ]),
  of('gcc', C, '-O2', '-pg', '-mfentry'),
  of('gcc', C, '-O1', '-foptimize-sibling-calls', '-static'),
  of('g++', CXX, '-O2'),
  of('clang++', CXX, '-Os'),
  of('rustc', RUST, '-Copt-level=0'),
  of('rustc', RUST, '-Copt-level=3'),
];

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-native-truth-'));
const stepper = join(directory, 'stepper');
after(() => {
  rmSync(directory, { recursive: true });
});

async function planOf(
  file: string,
  source: string,
): Promise<{ main: number; plan: string; shares: string }> {
  const module = await native.openModule(file);
  try {
    const all = await codeOfAll(module);
    const code = all.map(([, body]) => body);
    // The main of Rust's runtime comes before the program's own, in the crate named after the file.
    const entry = source === RUST ? 'functions::main' : 'main';
    const [main] = all.find(([{ name }]) => name === entry) ?? [];
    assert.ok(main);
    const shares = sharesText(sharesOf(code));
    return { main: main.address, plan: await stepperPlan(file, code), shares };
  } finally {
    module.close();
  }
}

describe('native sites of compiled code', { skip: missingCommands('gcc') }, () => {
  before(() => {
    execFileSync('gcc', ['-O2', '-o', stepper, join(SOURCES, 'stepper.c')]);
  });

  for (const build of builds) {
    const commands = [build.compiler, ...(build.options.includes(LLD) ? ['ld.lld'] : [])];
    test(build.name, { skip: missingCommands(...commands) }, async (t) => {
      const file = await compile(build, directory);
      const { main, plan, shares } = await planOf(file, build.source);
      t.diagnostic(shares);
      const steps = await step(stepper, file, main, plan);
      t.diagnostic(JSON.stringify(steps));
      assert.deepEqual(steps.complaints, []);
      assert.ok(steps.ends > 60);
    });
  }

  test('a wrong plan is noticed', async () => {
    const file = await compile(of('gcc', C, '-O0'), directory);
    const { main, plan } = await planOf(file, C);
    const wrong: [RegExp, string, RegExp][] = [
      [/^exit .*\n/gm, '', /^ended elsewhere/],
      [/^(function \w+) 0 0/gm, '$1 8 0', /^has another stack pointer/],
      [/^exit (\w+) 0/gm, 'exit $1 10', /^ended elsewhere/],
      [
        /^function (\w+)(.*\nrange (\w+) .*\nexit )(\w+)/gm,
        'function $4$2$4',
        /^began|^has other|^has another/,
      ],
      [/^(range (\w+) .*)$/gm, '$1\nexit $2 0', /^did not end/],
    ];
    for (const [what, by, complaint] of wrong) {
      assert.match(plan, what);
      const { complaints } = await step(stepper, file, main, plan.replace(what, by));
      assert.match(complaints[0] ?? '', complaint);
    }
  });
});

describe('native sites of real files', () => {
  const files = [
    '/usr/lib/postgresql/15/bin/postgres',
    '/usr/lib/x86_64-linux-gnu/libc.so.6',
    '/usr/lib/x86_64-linux-gnu/libstdc++.so.6',
    '/usr/lib/x86_64-linux-gnu/libcrypto.so.3',
  ];
  for (const file of files) {
    test(file, { skip: existsSync(file) ? false : 'is not there' }, async (t) => {
      const module = await native.openModule(file);
      try {
        const code = (await codeOfAll(module)).map(([, body]) => body);
        const shares = sharesOf(code);
        t.diagnostic(sharesText(shares));
        assert.ok(shares.full > 0.9 * shares.functions);
      } finally {
        module.close();
      }
    });
  }
});
