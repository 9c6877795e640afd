import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { loadNative } from '../../src/native/load.js';
import type { Module, NativeErrorCode } from '../../src/native/native.js';
import { goCommand } from '../tools/go.js';

/*
 * Damaged ELF files, from a fixed seed. They are read in a child process, so that a crash of the
 * addon is seen as what it is.
 */
const SEED = 20260;
const TIME_MS = 12_000;
const FEWEST_CASES = 1_000;
const SLOWEST_MS = 5_000;
const DIRECTORY = process.env.UNDERSPAN_FUZZ_DIRECTORY;
const ALLOWED = new Set<NativeErrorCode>(['ELF_NOT_ELF', 'ELF_MALFORMED', 'ELF_UNSUPPORTED']);

function randomizer(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) % below;
  };
}

interface Region {
  name: string;
  start: number;
  size: number;
}

/** The parts of a whole file in which damage is worth most. */
function regionsOf(file: Buffer): Region[] {
  const header = (at: number, size: number, count: number, name: string): Region => ({
    name,
    start: at,
    size: size * count,
  });
  const regions = [
    header(0, 64, 1, 'ELF header'),
    header(Number(file.readBigUInt64LE(32)), 56, file.readUInt16LE(56), 'program headers'),
  ];
  const sections = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  if (sections === 0) return regions;
  regions.push(header(sections, 64, count, 'section headers'));
  const section = (index: number): { name: number; type: number; start: number; size: number } => {
    const at = sections + index * 64;
    return {
      name: file.readUInt32LE(at),
      type: file.readUInt32LE(at + 4),
      start: Number(file.readBigUInt64LE(at + 24)),
      size: Number(file.readBigUInt64LE(at + 32)),
    };
  };
  const names = section(file.readUInt16LE(62)).start;
  const NOBITS = 8;
  for (let i = 1; i < count; i++) {
    const { name, type, start, size } = section(i);
    const text = file.toString('latin1', names + name, file.indexOf(0, names + name));
    const matters =
      /symtab|strtab|dyn|rel|debug|pclntab|buildinfo|go\.module|go\.type|link$|rodata|note|^\.text/;
    if (type !== NOBITS && size > 0 && matters.test(text)) {
      regions.push({ name: text, start, size });
    }
  }
  return regions;
}

interface Original {
  path: string;
  file: Buffer;
  regions: Region[];
  addresses: Float64Array;
  sizes: Float64Array;
}

async function readOriginal(path: string): Promise<Original> {
  const file = readFileSync(path);
  const module = await loadNative().openModule(path);
  const { addresses, sizes } = await module.functions();
  module.close();
  const every = Math.ceil(addresses.length / 64);
  const sample = (_: number, index: number): boolean => index % every === 0;
  return {
    path,
    file,
    regions: regionsOf(file),
    addresses: addresses.filter(sample),
    sizes: sizes.filter(sample),
  };
}

async function askEverything(module: Module, original: Original): Promise<void> {
  const { addresses, sizes } = original;
  const answers = await Promise.allSettled([
    module.functions().then((table) => {
      const count = table.addresses.length;
      assert.equal(table.sizes.length, count);
      if (count > 0) assert.equal(table.names.split('\n').length, count);
      return module.instructions(table.addresses.slice(0, 200), table.sizes.slice(0, 200));
    }),
    module.instructions(addresses, sizes),
    module.parameters(addresses),
    askNative(module, addresses),
    module.inlined(),
    module.fieldOffsets([
      { type: 'runtime.g', field: 'sched.sp' },
      { type: 'box', field: 'inner.second' },
    ]),
    module.runtimeTypes(['*errors.errorString', 'int']),
    module.interfaceTables('error'),
    module.describeTypes(['box', 'main.box', '*main.box', 'error', 'map[string]int', '[]string']),
    module
      .interfaceTables('error')
      .then((tables) =>
        module.typeNames(Float64Array.from(tables, ({ typeAddress }) => typeAddress ?? 0)),
      ),
    module.lines(addresses),
    module.threadLocal('shared'),
  ]);
  for (const answer of answers) if (answer.status === 'rejected') checkError(answer.reason);
}

/** Parameters of C, C++ and Rust, with all that their types lead to. */
async function askNative(module: Module, addresses: Float64Array): Promise<void> {
  const functions = await module.nativeFunctions(addresses);
  const ids = functions.flatMap((fn) => fn?.parameters.map(({ type }) => type) ?? []);
  const known = new Set<string>();
  for (let next = [...new Set(ids)]; next.length > 0 && known.size < 300;) {
    next.forEach((id) => known.add(id));
    const types = await module.nativeTypes(next);
    const inner = types.flatMap(({ element, fields, variants }) => [
      ...(element === null ? [] : [element]),
      ...[...fields, ...variants].map(({ type }) => type),
    ]);
    next = [...new Set(inner)].filter((id) => !known.has(id));
  }
  await module.nativeTypeNames([...known].slice(0, 8));
}

function checkError(error: unknown): void {
  const code = (error as { code?: NativeErrorCode }).code;
  if (!code || !ALLOWED.has(code)) throw error;
}

/** Damages `original` in a way that is not tried again, and says how. */
function damage(original: Original, random: (below: number) => number): [Buffer, string] {
  const { file, regions } = original;
  const region = regions[random(regions.length)];
  assert.ok(region);
  if (random(8) === 0) {
    const end = region.start + random(region.size + 1);
    return [file.subarray(0, end), `cut off at ${String(end)}, in ${region.name}`];
  }
  const damaged = Buffer.from(file);
  const places: string[] = [];
  for (let count = 1 + random(6); count > 0; count--) {
    const at = Math.min(region.start + random(region.size), file.length - 1);
    const extremes = [0, 1, 0x7f, 0x80, 0xff];
    damaged[at] = random(2) === 0 ? random(256) : (extremes[random(extremes.length)] ?? 0);
    places.push(`${String(at)}=${String(damaged[at])}`);
  }
  return [damaged, `${region.name}: ${places.join(' ')}`];
}

/** Every cut that leaves a part of a header or ends with a section. */
function cuts({ file, regions }: Original): number[] {
  const headers = regions.slice(0, 3);
  const ends = new Set(
    regions.flatMap(({ start, size }) => [start, start + size, start + size - 1]),
  );
  for (const { start, size } of headers) for (let at = 0; at < size; at += 8) ends.add(start + at);
  return [...ends].filter((end) => end >= 0 && end <= file.length);
}

async function fuzz(directory: string): Promise<void> {
  const native = loadNative();
  const random = randomizer(SEED);
  const path = join(directory, 'damaged');
  const log = openSync(join(directory, 'last'), 'w');
  let cases = 0;
  const read = async (original: Original, content: Buffer, what: string): Promise<void> => {
    writeFileSync(path, content);
    // Known to the parent even if this process dies.
    writeSync(log, `${original.path}: ${what}`.padEnd(400), 0);
    const began = performance.now();
    try {
      const module = await native.openModule(path);
      await askEverything(module, original);
      module.close();
    } catch (error) {
      checkError(error);
    }
    const took = performance.now() - began;
    assert.ok(took < SLOWEST_MS, `${String(took)} ms`);
    cases++;
  };
  const deadline = performance.now() + TIME_MS;
  const originals: Original[] = [];
  for (const file of process.argv.slice(2)) originals.push(await readOriginal(file));
  for (const original of originals) {
    for (const end of cuts(original)) {
      await read(original, original.file.subarray(0, end), `cut off at ${String(end)}`);
    }
  }
  while (performance.now() < deadline) {
    for (const original of originals) await read(original, ...damage(original, random));
  }
  closeSync(log);
  console.log(cases);
}

function works(command: string, ...args: string[]): boolean {
  return spawnSync(command, args).status === 0;
}

const C_SOURCE = `
#include <stdio.h>
struct inner { int first; long second; };
struct box { char name[8]; struct inner inner; };
__thread struct box *shared;
static inline int twice(int x) { return x * 2 + getchar(); }
int apply(struct box *b, int x) { return twice(x) + (int)b->inner.second; }
int main(int argc, char **argv) { struct box b = {{0}, {1, 2}}; shared = &b; puts(argv[0]); return apply(&b, argc); }
`;
const CPP_SOURCE = `
#include <functional>
#include <map>
#include <string>
namespace ns { template <typename... T> struct box { std::map<std::string, std::function<int(T...)>> of; int call(T... x) { return of["x"](x...); } }; }
int main(int argc, char **argv) {
  ns::box<int, char const *> b;
  b.of["x"] = [&](int n, char const *text) { return n + text[0]; };
  return b.call(argc, argv[0]);
}
`;
const ITEM_SOURCE = `
#include <cstdio>
#include <string_view>
namespace ns {
struct base { int id; virtual ~base() {} };
struct item : base { std::string_view text; union { int a; float b; }; enum { ONE, TWO } kind; item *next; };
int use(item *it, const item &other, item copy) { return std::puts(it->text.data()) + other.id + copy.kind; }
}
int main(int argc, char **argv) { ns::item a, b; a.text = argv[0]; b.id = argc; return ns::use(&a, b, a); }
`;
const RUST_SOURCE = `
#[inline(never)] fn check(s: &str, v: Vec<u8>, o: Option<u32>) -> Result<usize, String> {
  if s.len() > 3 { Err(s.to_string()) } else { Ok(v.len() + o.unwrap_or(1) as usize) }
}
fn main() { let s = std::env::args().next().unwrap(); println!("{:?}", check(&s, vec![1], Some(3))); }
`;
const GO_SOURCE = `package main
import "errors"
type box struct { name string; err error }
//go:noinline
func apply(b *box, n int) error { if n > 1 { return errors.New(b.name) }; return b.err }
func main() { if apply(&box{}, 2) == nil { panic(1) } }
`;

function build(directory: string): string[] {
  const files: string[] = ['/bin/true'];
  const source = join(directory, 'box.c');
  writeFileSync(source, C_SOURCE);
  for (const [compiler, version] of [
    ['gcc', '-gdwarf-5'],
    ['gcc', '-gdwarf-4'],
    ['clang', '-gdwarf-5'],
  ] as const) {
    const out = join(directory, `${compiler}${version}`);
    if (works(compiler, '-O2', version, '-o', out, source)) files.push(out);
  }
  const others: [string, string, string, string[]][] = [
    ['g++', 'item.cc', ITEM_SOURCE, ['-O2', '-std=c++17', '-gdwarf-5', '-fdebug-types-section']],
    ['clang++', 'item.cc', ITEM_SOURCE, ['-O1', '-std=c++17', '-gdwarf-4']],
    // Without the library's own debug information, which is hundreds of times larger.
    ['rustc', 'check.rs', RUST_SOURCE, ['-g', '-Copt-level=1', '-Cprefer-dynamic']],
  ];
  for (const [compiler, name, text, flags] of others) {
    const out = join(directory, `built-${compiler}`);
    writeFileSync(join(directory, name), text);
    if (works(compiler, ...flags, '-o', out, join(directory, name))) files.push(out);
  }
  const templates = join(directory, 'box.cc');
  writeFileSync(templates, CPP_SOURCE);
  const cpp = join(directory, 'g++');
  if (works('g++', '-O1', '-o', cpp, templates)) files.push(cpp);
  writeFileSync(join(directory, 'go.mod'), 'module example.com/box\ngo 1.21\n');
  writeFileSync(join(directory, 'main.go'), GO_SOURCE);
  for (const [name, ...flags] of [
    ['go-plain', '-ldflags=-compressdwarf=false'],
    ['go-pie', '-buildmode=pie', '-ldflags=-s -w'],
  ] as const) {
    const out = join(directory, name);
    try {
      execFileSync(goCommand(), ['build', ...flags, '-o', out, '.'], {
        cwd: directory,
        stdio: 'ignore',
        env: { ...process.env, CGO_ENABLED: '0' },
      });
      files.push(out);
    } catch {
      // Without a Go toolchain the C programs have to do.
    }
  }
  return files;
}

if (DIRECTORY !== undefined) {
  await fuzz(DIRECTORY);
} else {
  const directory = mkdtempSync(join(tmpdir(), 'underspan-fuzz-'));
  let files: string[] = [];
  before(() => {
    files = build(directory);
  });
  after(() => {
    rmSync(directory, { recursive: true });
  });

  test('damaged files give errors, never a crash or a hang', () => {
    const env: NodeJS.ProcessEnv = { ...process.env, UNDERSPAN_FUZZ_DIRECTORY: directory };
    delete env.NODE_TEST_CONTEXT;
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...files], {
      env,
      encoding: 'utf8',
      timeout: 4 * TIME_MS,
      killSignal: 'SIGKILL',
    });
    const last = readFileSync(join(directory, 'last'), 'utf8').trim();
    const outcome = `status ${String(child.status)}, signal ${String(child.signal)}`;
    assert.equal(child.status, 0, `${outcome} at ${last}\n${child.stderr}`);
    assert.ok(Number(child.stdout) >= FEWEST_CASES, `only ${child.stdout.trim()} cases`);
  });
}
