import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import { has } from '../tools/modules.js';
import {
  type Build,
  codeOfAll,
  compile,
  sharesOf,
  sharesText,
  SOURCES,
  step,
} from '../tools/native-code.js';

const C = 'functions.c';
const CXX = 'functions.cc';
const RUST = 'functions.rs';
const of = (compiler: string, source: string, ...options: string[]): Build => ({
  name: [compiler, ...options].join(' '),
  compiler,
  source,
  options,
});

/** Each is executed instruction by instruction, so that those of C++ and Rust take seconds. */
const builds: Build[] = [
  ...['gcc', 'clang'].flatMap((compiler) => [
    ...['-O0', '-O1', '-O2', '-O3', '-Os'].map((level) => of(compiler, C, level)),
    of(compiler, C, '-O2', '-fcf-protection=full'),
    of(compiler, C, '-O0', '-fcf-protection=full'),
    of(compiler, C, '-O2', '-fno-pie', '-no-pie'),
    of(compiler, C, '-O0', '-fno-pie', '-no-pie'),
    of(compiler, C, '-O2', '-flto', ...(compiler === 'clang' ? ['-fuse-ld=lld'] : [])),
    of(compiler, C, '-O2', '-fno-omit-frame-pointer', '-fno-plt'),
    of(compiler, C, '-O2', '-fpatchable-function-entry=5,2', '-fstack-protector-all'),
    of(compiler, C, '-O2', '-march=haswell', '-mtune=haswell'),
  ]),
  of('gcc', C, '-O2', '-pg', '-mfentry'),
  of('gcc', C, '-O1', '-foptimize-sibling-calls', '-static'),
  of('g++', CXX, '-O0'),
  of('g++', CXX, '-O2'),
  of('clang++', CXX, '-Os'),
  of('clang++', CXX, '-O2'),
  of('rustc', RUST, '-Copt-level=0'),
  of('rustc', RUST, '-Copt-level=3'),
];

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-native-truth-'));
const stepper = join(directory, 'stepper');
after(() => {
  rmSync(directory, { recursive: true });
});

describe('native sites of compiled code', { skip: has('gcc') ? false : 'gcc is missing' }, () => {
  before(() => {
    execFileSync('gcc', ['-O2', '-o', stepper, join(SOURCES, 'stepper.c')]);
  });

  for (const build of builds) {
    const skip = has(build.compiler) ? false : `${build.compiler} is missing`;
    test(build.name, { skip }, async (t) => {
      const file = await compile(build, directory);
      const module = await native.openModule(file);
      try {
        const all = await codeOfAll(module);
        const code = all.map(([, body]) => body);
        t.diagnostic(sharesText(sharesOf(code)));
        const main = all.find(
          ([{ name }]) =>
            name === (build.source === RUST ? '' : 'main') ||
            /9functions4main/.test(name) ||
            /7program4main/.test(name),
        );
        assert.ok(main);
        const steps = await step(stepper, file, main[0].address, code);
        t.diagnostic(JSON.stringify(steps));
        assert.deepEqual(steps.complaints, []);
        assert.ok(steps.ends > 300);
      } finally {
        module.close();
      }
    });
  }
});
