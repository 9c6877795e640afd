/** Builds of test/targets/native-context: each publishes the context of its threads in another way. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from './go.js';

const run = promisify(execFile);
const source = join(projectRoot, 'test/targets/native-context');
const FLAGS = ['-O2', '-g', '-Wall', '-Wextra', '-pthread'];
const EXPORT = '-Wl,--export-dynamic-symbol=otel_thread_ctx_v1';
const LIBRARY = ['-fPIC', '-shared', '-Wl,-soname,libpublish.so', 'publish.c'];
const GNU = '-mtls-dialect=gnu';
const DESCRIPTORS = '-mtls-dialect=gnu2';

interface Build {
  /** Commands, run one after the other in the folder of the sources; OUT is that of the results. */
  commands: string[][];
  /** What the program is to load by dlopen. */
  loads?: string;
}

const program = (compiler: string, ...flags: string[]): Build => ({
  commands: [[compiler, ...FLAGS, 'main.c', 'publish.c', ...flags, '-o', 'OUT/program']],
});

const linked = (compiler: string, ...flags: string[]): Build => ({
  commands: [
    [compiler, ...FLAGS, ...flags, ...LIBRARY, '-o', 'OUT/libpublish.so'],
    [compiler, ...FLAGS, 'main.c', 'OUT/libpublish.so', '-Wl,-rpath,$ORIGIN', '-o', 'OUT/program'],
  ],
});

const loaded = (compiler: string, ...flags: string[]): Build => ({
  commands: [
    [compiler, ...FLAGS, ...flags, ...LIBRARY, '-o', 'OUT/libpublish.so'],
    [compiler, ...FLAGS, '-DLOADED', 'main.c', '-o', 'OUT/program'],
  ],
  loads: 'libpublish.so',
});

const object = (file: string): string[] => ['gcc', ...FLAGS, '-c', file, '-o', `OUT/${file}.o`];

export const NATIVE_CONTEXT_BUILDS = {
  'position independent executable': program('gcc', EXPORT),
  'executable at a fixed address': program('gcc', '-no-pie', EXPORT),
  'record made valid and invalid': program('gcc', '-DBY_FLAG', EXPORT),
  'static executable': program('gcc', '-static'),
  'static position independent executable': program('gcc', '-static-pie'),
  'large segment': program('gcc', '-DSEGMENT=65536', EXPORT),
  'aligned segment': program('gcc', '-DALIGNMENT=256', '-DSEGMENT=300', EXPORT),
  'library, general dynamic': linked('gcc', GNU),
  'library, descriptors': linked('gcc', DESCRIPTORS),
  'library, initial exec': linked('gcc', '-ftls-model=initial-exec'),
  'library, bound by the linker': linked('gcc', GNU, '-Wl,-Bsymbolic'),
  'library, descriptors bound by the linker': linked('gcc', DESCRIPTORS, '-Wl,-Bsymbolic'),
  'dlopen, general dynamic': loaded('gcc', GNU),
  'dlopen, descriptors': loaded('gcc', DESCRIPTORS),
  'dlopen, descriptors, no static room': loaded('gcc', DESCRIPTORS, '-DSEGMENT=65536'),
  'C++': {
    commands: [
      object('publish.c'),
      ['g++', ...FLAGS, 'main.cc', 'OUT/publish.c.o', EXPORT, '-o', 'OUT/program'],
    ],
  },
  Rust: {
    commands: [
      object('publish.c'),
      object('bridge.c'),
      [
        'rustc',
        '-Copt-level=2',
        '-g',
        'main.rs',
        ...['publish.c.o', 'bridge.c.o', EXPORT].map((each) =>
          each.startsWith('-') ? `-Clink-arg=${each}` : `-Clink-arg=OUT/${each}`,
        ),
        '-o',
        'OUT/program',
      ],
    ],
  },
  'musl, static executable': program('musl-gcc', '-static'),
  'musl, executable': program('musl-gcc', EXPORT),
  'musl, aligned segment': program('musl-gcc', '-DALIGNMENT=256', '-DSEGMENT=300', '-static'),
  'musl, library, general dynamic': linked('musl-gcc', GNU),
  'musl, library, descriptors': linked('musl-gcc', DESCRIPTORS),
  'musl, dlopen, general dynamic': loaded('musl-gcc', GNU),
  'musl, dlopen, descriptors': loaded('musl-gcc', DESCRIPTORS),
  'Elastic, library': linked('gcc', '-DELASTIC', DESCRIPTORS),
  'Elastic, dlopen': loaded('gcc', '-DELASTIC', DESCRIPTORS, '-DSEGMENT=65536'),
  'Elastic, musl': linked('musl-gcc', '-DELASTIC', GNU),
} as const satisfies Record<string, Build>;

export type NativeContextBuild = keyof typeof NATIVE_CONTEXT_BUILDS;

/** What publishes the context of the process. */
const PROCESS: Build = { commands: [['gcc', ...FLAGS, 'process.c', '-o', 'OUT/program']] };

export const compilersOf = (name: NativeContextBuild): string[] =>
  NATIVE_CONTEXT_BUILDS[name].commands.map(([compiler]) => compiler);

export interface BuiltProgram {
  path: string;
  env: Record<string, string>;
}

/** Builds it, unless that has been done before. */
export const buildNativeContext = (name: NativeContextBuild): Promise<BuiltProgram> =>
  built(NATIVE_CONTEXT_BUILDS[name]);

export const buildProcessContext = (): Promise<BuiltProgram> => built(PROCESS);

async function built(build: Build): Promise<BuiltProgram> {
  const hash = createHash('sha256').update(JSON.stringify(build));
  for (const file of (await readdir(source)).sort())
    hash.update(await readFile(join(source, file)));
  const parent = join(projectRoot, '.cache/targets');
  const folder = join(parent, `native-context-${hash.digest('hex').slice(0, 12)}`);
  if (!existsSync(folder)) {
    // Test files run at the same time: build aside, then put it there in one step.
    const aside = `${folder}.${process.pid}`;
    await mkdir(aside, { recursive: true });
    for (const [command = '', ...flags] of build.commands) {
      const args = flags.map((each) => each.replace('OUT', aside));
      await run(command, args, { cwd: source });
    }
    await rename(aside, folder).catch(() => rm(aside, { recursive: true }));
  }
  return {
    path: join(folder, 'program'),
    env: build.loads === undefined ? {} : { PUBLISH_LIBRARY: join(folder, build.loads) },
  };
}
