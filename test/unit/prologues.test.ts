/** Entries of what compilers make, by their own choice of instructions. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import { wayOf } from '../../src/plan/cost.js';
import { ASSUMED_COSTS, type HostCosts } from '../../src/plan/host-costs.js';
import { rangesOf, readCode } from '../../src/plan/native-code.js';
import { type EntrySite, nativeEntry, NO_ARGUMENTS } from '../../src/plan/native-sites.js';
import { missingCommands } from '../tools/require.js';

const directory = mkdtempSync(join(tmpdir(), 'underspan-prologues-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const C = join(directory, 'functions.c');
writeFileSync(
  C,
  `struct s { int a, b; struct s *next; };
extern int other(int);
#define FUNCTION __attribute__((noinline))
FUNCTION int framed(int a) { return other(a) + other(a + 1) + a; }
FUNCTION int branches(struct s *p) { if (!p) return 0; p->b++; return p->a; }
FUNCTION int loads(struct s *p) { int v = p->a; if (v == 3) p->b++; return v * 5; }
FUNCTION int straight(int a, int b) { return a * 3 + b; }
FUNCTION int wraps(struct s *p) { return other(p->a) * 2; }
FUNCTION int walks(struct s *p) { int n = 0; for (; p; p = p->next) n += p->a; return n; }
`,
);
const RUST = join(directory, 'functions.rs');
writeFileSync(
  RUST,
  `#[repr(C)] pub struct S { a: i32, b: i32 }
extern "C" { fn other(a: i32) -> i32; }
#[no_mangle] #[inline(never)] pub extern "C" fn framed(a: i32) -> i32 {
  unsafe { other(a).wrapping_add(other(a.wrapping_add(1))).wrapping_add(a) }
}
#[no_mangle] #[inline(never)] pub extern "C" fn branches(p: Option<&mut S>) -> i32 {
  match p { None => 0, Some(s) => { s.b = s.b.wrapping_add(1); s.a } }
}
#[no_mangle] #[inline(never)] pub extern "C" fn loads(p: &mut S) -> i32 {
  let v = p.a; if v == 3 { p.b = p.b.wrapping_add(1); } v.wrapping_mul(5)
}
#[no_mangle] #[inline(never)] pub extern "C" fn straight(a: i32, b: i32) -> i32 {
  a.wrapping_mul(3).wrapping_add(b)
}
`,
);

const gcc = (flags: string[]) => ['gcc', '-shared', '-fPIC', ...flags, C];
const clang = (flags: string[]) => ['clang', '-shared', '-fPIC', ...flags, C];
const COMPILERS: Record<string, string[]> = {
  'gcc -O2': gcc(['-O2', '-fcf-protection=none']),
  'gcc -O2, CET': gcc(['-O2', '-fcf-protection=full']),
  'gcc -O1, frame pointers': gcc([
    '-O1',
    '-fno-omit-frame-pointer',
    '-mno-omit-leaf-frame-pointer',
  ]),
  'clang -O2': clang(['-O2', '-fcf-protection=none']),
  'clang -O2, CET': clang(['-O2', '-fcf-protection=full']),
  rustc: ['rustc', '--crate-type=cdylib', '-Copt-level=3', '-Cpanic=abort', RUST],
};

/** The instructions that the kernel emulates, as assemblers write them. */
const EMULATED = /^(?:push %r\w+|nop|call 0x\w+|j\w+ 0x\w+)$/;
const FRAME = /^push/;
const BRANCH = /^j(?!mp)/;
const AFTER_ARGUMENTS = /are changed|is written/;
const NOTHING = /no instruction at its beginning/;

/**
 * The instruction at the entry where nothing is read there, and where arguments are; or why none that
 * is emulated was taken.
 */
const EXPECTED: Record<string, [RegExp, RegExp]> = {
  framed: [FRAME, FRAME],
  branches: [BRANCH, BRANCH],
  loads: [BRANCH, AFTER_ARGUMENTS],
  straight: [NOTHING, NOTHING],
};

interface Chosen {
  site: EntrySite;
  instruction: string;
}

async function entriesOf(file: string, costs: HostCosts, read: boolean) {
  const module = await loadNative().openModule(file);
  try {
    const table = await module.functions();
    const names = table.names.split('\n');
    const indexes = [...names.keys()].filter((index) => (table.sizes[index] ?? 0) > 0);
    const code = await readCode(module, indexes.map(rangesOf(table)));
    const chosen = new Map<string, Chosen>();
    for (const [i, body] of code.entries()) {
      const entry = nativeEntry(body, costs, read ? undefined : NO_ARGUMENTS);
      if (!('sites' in entry)) continue;
      const [instruction] = await module.disassemble(Float64Array.of(entry.sites.address));
      chosen.set(names[indexes[i] ?? 0] ?? '', {
        site: entry.sites,
        instruction: instruction ?? '',
      });
    }
    return chosen;
  } finally {
    module.close();
  }
}

function compile(name: string): string {
  const [command = '', ...args] = COMPILERS[name] ?? [];
  const file = join(directory, `${name.replace(/\W+/g, '-')}.so`);
  execFileSync(command, [...args, '-o', file], { stdio: ['ignore', 'ignore', 'inherit'] });
  return file;
}

for (const [name, [command = '']] of Object.entries(COMPILERS)) {
  test(name, { skip: missingCommands(command) }, async () => {
    const file = compile(name);
    for (const read of [false, true]) {
      const chosen = await entriesOf(file, ASSUMED_COSTS, read);
      for (const [fn, patterns] of Object.entries(EXPECTED)) {
        const found = chosen.get(fn);
        assert.ok(found, fn);
        assert.match(
          found.site.whyDear ?? found.instruction,
          patterns[read ? 1 : 0],
          `${fn}, arguments ${read ? '' : 'not '}read: ${found.instruction}`,
        );
      }
      // Whatever else the file holds: what starts it, and what the language brings along.
      for (const [fn, { site, instruction }] of chosen) {
        assert.equal(site.emulated, EMULATED.test(instruction), `${fn}: ${instruction}`);
        if (site.whyDear !== undefined) {
          assert.equal(wayOf(site, ASSUMED_COSTS), 'single-stepped', fn);
        }
      }
    }
  });
}

describe('a nop of five bytes', { skip: missingCommands('gcc') }, () => {
  const file = join(directory, 'nops.so');
  const build = () =>
    execFileSync('gcc', [
      ...['-O2', '-fno-pic', '-no-pie', '-fcf-protection=full', '-pg', '-mfentry'],
      ...['-mnop-mcount', '-c', C, '-o', file],
    ]);

  test('is never taken: forked children die where the kernel has put a call in its place', async () => {
    build();
    const linked = `${file}.linked`;
    const stubs = join(directory, 'other.c');
    writeFileSync(stubs, 'int other(int a) { return a; } int main(void) { return 0; }\n');
    execFileSync('gcc', ['-no-pie', '-o', linked, file, stubs]);
    const chosen = await entriesOf(linked, ASSUMED_COSTS, true);
    assert.match(chosen.get('framed')?.instruction ?? '', FRAME);
    for (const [fn, { instruction }] of chosen) {
      assert.doesNotMatch(instruction ?? '', /^nop %eax, \(%rax,%rax,1\)/, fn);
    }
  });
});
