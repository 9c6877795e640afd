/**
 * Parameters of programs in C, C++ and Rust: where they are said to be, and what their bytes are
 * shown as. Each program is built in several ways; what can be read must be the same in all.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import type { Module, NativeFunction, NativeParameter } from '../../src/native/native.js';
import type { ErrorMode } from '../../src/plan/error-modes.js';
import type { ValueRequest } from '../../src/plan/function-values.js';
import { NativeValuePlanner } from '../../src/plan/native-values.js';
import type { FunctionValues } from '../../src/plan/plan.js';
import type { Call } from '../../src/spans/call.js';
import {
  ErrorKind,
  SpecialValue,
  ValueKind,
  ValuePlace,
  ValueState,
} from '../../src/spans/records.generated.js';
import { renderShape, type Shape } from '../../src/spans/shapes.js';
import { SpanMaker } from '../../src/spans/spans.js';
import { missingCommands } from '../tools/require.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-native-'));
const modules: Module[] = [];
after(() => {
  modules.forEach((module) => {
    module.close();
  });
  rmSync(directory, { recursive: true });
});

const NOTHING = Buffer.alloc(0);
const CALL: Call = {
  ...{ traceId: '1'.repeat(32), spanId: '2'.repeat(16), parentId: '0'.repeat(16), parentKind: 0 },
  ...{ treeId: '2'.repeat(16), traceFlags: 1, source: 0, end: 0, depth: 0, startNs: 1n },
  ...{ durationNs: 1, descendants: 0, function: 0, tgid: 1, tid: 1, stack: 0n, goroutineId: 0 },
  ...{
    treeSpans: 1,
    treeLost: 0,
    failed: false,
    values: null,
    waits: null,
    waitsKnown: false,
    fold: null,
    incomplete: false,
    unclosed: false,
  },
};

let builds = 0;
async function build(
  command: string,
  source: string,
  suffix: string,
  flags: string[],
): Promise<Module> {
  const name = join(directory, `built-${String(builds++)}`);
  writeFileSync(`${name}${suffix}`, source);
  execFileSync(command, [...flags, '-o', name, `${name}${suffix}`], { stdio: 'pipe' });
  const module = await native.openModule(name);
  modules.push(module);
  return module;
}

/** By its name without parameters. */
async function functionOf(module: Module, part: RegExp): Promise<NativeFunction> {
  const { names, addresses } = await module.functions();
  const index = names.split('\n').findIndex((name) => part.test(name));
  assert.ok(index >= 0, `no function ${String(part)}`);
  const [found] = await module.nativeFunctions(Float64Array.of(addresses[index] ?? 0));
  assert.ok(found, `DWARF has no ${String(part)}`);
  return found;
}

/** "rdi" or "0:rdi 8:rsi", "stack+8", "*rdi" where it is an address, or why it cannot be read. */
function place({ pieces, stackOffset, isAddress, problem }: NativeParameter): string {
  if (problem !== null) return problem;
  const mark = isAddress ? '*' : '';
  if (stackOffset !== null) return `${mark}stack+${String(stackOffset)}`;
  const names = ['rdi', 'rsi', 'rdx', 'rcx', 'r8', 'r9', 'rax', 'rdx'];
  const register = (number: number): string => names[number] ?? `xmm${String(number - 100)}`;
  const [only] = pieces;
  if (pieces.length === 1 && only?.offset === 0) return mark + register(only.register);
  return (
    mark + pieces.map((piece) => `${String(piece.offset)}:${register(piece.register)}`).join(' ')
  );
}

const places = (fn: NativeFunction): Record<string, string> =>
  Object.fromEntries(
    fn.parameters.map((parameter) => [parameter.result ? '=>' : parameter.name, place(parameter)]),
  );

const request = (others: Partial<ValueRequest> = {}): ValueRequest => ({
  ...{ args: ['*'], returns: true, stack: false, redact: [], errors: null },
  ...others,
});

async function planned(
  module: Module,
  part: RegExp,
  others: Partial<ValueRequest> = {},
): Promise<FunctionValues & { refused: string[] }> {
  const planner = new NativeValuePlanner(module, request(others));
  const values = await planner.plan('f', await functionOf(module, part));
  return { ...values, refused: planner.refused.map(({ what, reason }) => `${what}: ${reason}`) };
}

const attributes = ({ arguments: args, results }: FunctionValues): string[] =>
  [...args, ...results].map(({ attribute }) => attribute.replace(/^underspan\.(?:arg\.)?/, ''));

/** Status and type of the error of a call that has failed. */
function failure(
  { error }: FunctionValues,
  data: Buffer | null,
  length = 0,
): [string | undefined, unknown] {
  const state = ValueState.READ;
  const read = { index: SpecialValue.RESULT_ERROR, state, length, type: 0, data: data ?? NOTHING };
  const maker = new SpanMaker({
    functions: [{ name: 'f', file: null, line: null, failure: error }],
    ...{ clockOffsetNs: 0n, overheadPerCallNs: null },
    resource: () => ({ attributes: {} }),
  });
  const call = { ...CALL, failed: true, values: data ? [read] : null };
  const { status, attributes: with_ } = maker.span(call);
  assert.equal(status.code, 'error');
  return [status.message, with_['error.type']];
}

/** What a value is shown as whose bytes the kernel has read, as its plan asks for them. */
function shown(values: FunctionValues, attribute: string, data: Buffer, length = 0): unknown {
  const all = [...values.arguments, ...values.results];
  const found = all.find((value) => value.attribute === `underspan.${attribute}`);
  assert.ok(found && 'shape' in found.type, `no ${attribute}`);
  const state = data === NOTHING ? ValueState.NIL : ValueState.READ;
  const value = { index: 0, state, length, type: 0, data };
  return renderShape(value, found.type, found.redacted);
}

const C = `
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
struct two { long a, b; };
struct small { int x; short y; char z; };
struct mixed { double d; long n; };
struct floats { float a, b, c; };
struct big { long v[5]; };
struct grid { short cells[2][3]; int after; };
struct flags { unsigned a : 3, b : 5; int whole; };
struct list { struct list *next; int id; char label[8]; const char *text; };
struct packed { char c; long l; } __attribute__((packed));
union either { int i; float f; };
enum color { RED = 1, BLUE = -2 };
typedef struct { const char *password; int port; } options;
#define KEEP __attribute__((noinline, noipa_if_there))
#define noipa_if_there noclone
KEEP int numbers(signed char a, unsigned short b, int c, uint64_t d, _Bool e, enum color f, char g, unsigned char h)
  { printf("%d", a + b + c + (int)d + e + f + g + h); return -c; }
KEEP ssize_t records(struct two t, struct small s, double f, const char *name, struct floats fs)
  { printf("%ld %d %f %s %f", t.a, s.y, f, name, fs.c); return -t.b; }
KEEP const char *stacked(struct big b, struct mixed m, int a, int c, int d, int e, int f, int g, struct two t)
  { printf("%ld %ld %d", b.v[1], m.n, a + c + d + e + f + g); return t.a ? "" : 0; }
KEEP struct two pair(struct list *l, options *o, struct packed p, long double ld, union either u)
  { struct two t = {l->id, o->port + p.l + (long)ld + u.i}; printf("%s", o->password); return t; }
KEEP struct big large(int n, struct flags f) { struct big b = {{n, f.a}}; printf("%d", f.b); return b; }
KEEP int gridded(struct grid g, struct grid *p) { printf("%d", g.cells[1][2]); return p->after; }
KEEP double real(void *p, int (*call)(int)) { return p ? call(3) : 2.5; }
KEEP void nothing(void) { puts("x"); }
static int twice(int x) { return 2 * x; }
int main(int argc, char **argv) {
  struct two t = {argc, 2}; struct small s = {1, 2, 3}; struct big b = {{1}}; struct mixed m = {1, 2};
  struct list l = {0, 1, "label", "t"}; options o = {argv[0], 2}; struct packed p = {1, 2};
  struct floats fs = {1, 2, 3}; struct flags f = {1, 2, 3}; union either u = {.i = 3};
  numbers(1, 2, argc, 4, 1, BLUE, 'x', 3); records(t, s, 2.5, argv[0], fs);
  stacked(b, m, 1, 2, 3, 4, 5, 6, t); pair(&l, &o, p, 1, u); large(argc, f); real(argv, twice); nothing();
  struct grid g = {{{1}}, argc}; gridded(g, &g);
  return 0;
}
`;

const C_PLACES: [RegExp, Record<string, string>][] = [
  [
    /^numbers$/,
    {
      ...{ a: 'rdi', b: 'rsi', c: 'rdx', d: 'rcx', e: 'r8', f: 'r9' },
      ...{ g: 'stack+0', h: 'stack+8', '=>': 'rax' },
    },
  ],
  [
    /^records$/,
    {
      ...{ t: '0:rdi 8:rsi', s: 'rdx', f: 'xmm0', name: 'rcx' },
      ...{ fs: '0:xmm1 8:xmm2', '=>': 'rax' },
    },
  ],
  [
    /^stacked$/,
    {
      ...{ b: 'stack+0', m: '0:xmm0 8:rdi', a: 'rsi', c: 'rdx', d: 'rcx', e: 'r8', f: 'r9' },
      ...{ g: 'stack+40', t: 'stack+48', '=>': 'rax' },
    },
  ],
  [
    /^pair$/,
    {
      ...{ l: 'rdi', o: 'rsi', p: 'stack+0', ld: 'stack+16', u: 'rdx' },
      '=>': '0:rax 8:rdx',
    },
  ],
  [/^large$/, { n: 'rsi', f: 'rdx', '=>': '*rax' }],
  [/^real$/, { p: 'rdi', call: 'rsi', '=>': 'xmm0' }],
  [/^gridded$/, { g: '0:rdi 8:rsi', p: 'rdx', '=>': 'rax' }],
  [/^nothing$/, {}],
];

const C_BUILDS: [string, string[]][] = [
  ['gcc', ['-g', '-O0']],
  ['gcc', ['-gdwarf-2', '-gstrict-dwarf', '-O2']],
  ['gcc', ['-gdwarf-4', '-O1']],
  ['gcc', ['-gdwarf-5', '-O2']],
  ['gcc', ['-g', '-O3', '-flto']],
  ['gcc', ['-g', '-Os', '-fdebug-types-section']],
  ['clang', ['-g', '-O0']],
  ['clang', ['-gdwarf-4', '-O2']],
  ['clang', ['-gdwarf-5', '-O3']],
];

describe('C', () => {
  for (const [compiler, flags] of C_BUILDS) {
    const options = { skip: missingCommands(compiler) };
    test(`${compiler} ${flags.join(' ')}`, options, async () => {
      const module = await build(compiler, C, '.c', [...flags, '-w', '-Wno-unknown-attributes']);
      for (const [name, expected] of C_PLACES) {
        const fn = await functionOf(module, name);
        assert.equal(fn.language, 'c');
        assert.deepEqual(places(fn), expected, String(name));
      }
    });
  }

  const options = { skip: missingCommands('gcc') };
  test('values by path, and why others cannot be read', options, async () => {
    const module = await build('gcc', C, '.c', ['-g', '-O2', '-w']);
    const numbers = await planned(module, /^numbers$/);
    assert.deepEqual(attributes(numbers), ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'return.0']);
    const word = (value: bigint): Buffer => {
      const data = Buffer.alloc(24, 0x55);
      data.writeBigUInt64LE(BigInt.asUintN(64, value));
      return data;
    };
    assert.equal(shown(numbers, 'arg.a', word(0x1234_56fdn)), -3);
    assert.equal(shown(numbers, 'arg.b', word(0xffff_fffen)), 0xfffe);
    assert.equal(shown(numbers, 'arg.c', word(-5n)), -5);
    assert.equal(shown(numbers, 'arg.d', word(-1n)), '18446744073709551615');
    assert.equal(shown(numbers, 'arg.e', word(0x100n)), false);
    assert.equal(shown(numbers, 'arg.f', word(0xffff_fffen)), 'BLUE');
    assert.equal(shown(numbers, 'arg.f', word(7n)), 7);
    assert.equal(shown(numbers, 'arg.g', word(0x78n)), 'x');
    assert.equal(shown(numbers, 'arg.g', word(0n)), '\\x00');

    const records = await planned(module, /^records$/);
    assert.deepEqual(attributes(records), [
      ...['t.a', 't.b', 's.x', 's.y', 's.z', 'name', 'return.0'],
    ]);
    const small = Buffer.alloc(24);
    small.writeInt32LE(-7, 0);
    small.writeInt16LE(-300, 4);
    small.write('q', 6);
    assert.equal(shown(records, 'arg.s.x', small), -7);
    assert.equal(shown(records, 'arg.s.y', small), -300);
    assert.equal(shown(records, 'arg.s.z', small), 'q');
    const name = records.arguments.find(({ attribute }) => attribute === 'underspan.arg.name');
    assert.deepEqual(
      [name?.plan.kind, name?.plan.place, name?.plan.at],
      [ValueKind.CSTRING, ValuePlace.REGISTERS, 3],
    );
    assert.deepEqual(records.refused, [
      ...['f', 'fs.a', 'fs.b', 'fs.c'].map(
        (what) =>
          `underspan.arg.${what}: it is passed in a floating-point register, which cannot be read`,
      ),
    ]);

    const paths = ['l.next.next.id', 'l.label', 'l.text', 'o', 'u.f', 'p', 'l.nothing', 'u'];
    const pair = await planned(module, /^pair$/, { args: paths });
    assert.deepEqual(attributes(pair), [
      ...['l.next.next.id', 'l.label', 'l.text', 'o.password', 'o.port', 'u.f', 'p.c', 'p.l'],
      ...['return.0.a', 'return.0.b'],
    ]);
    assert.deepEqual(pair.refused, [
      'underspan.arg.l.nothing: list has no field nothing; it has next, id, label, text',
      'underspan.arg.u: either is a union: name one of its fields',
    ]);
    const plan = (attribute: string): unknown[] => {
      const { plan: found } =
        pair.arguments.find((each) => each.attribute.endsWith(attribute)) ?? {};
      return [found?.kind, found?.place, found?.at, found?.path];
    };
    assert.deepEqual(plan('.next.id'), [ValueKind.PLAIN, ValuePlace.REGISTERS, 0, [0, 0, 8]]);
    assert.deepEqual(plan('o.password'), [ValueKind.HIDDEN, ValuePlace.REGISTERS, 1, [0]]);
    assert.deepEqual(plan('p.l'), [ValueKind.PLAIN, ValuePlace.STACK, 0, [1]]);
    assert.equal(shown(pair, 'arg.l.label', Buffer.from('ab\0cdefg')), 'ab');

    const large = await planned(module, /^large$/, { args: ['*', 'f.b.c'] });
    assert.deepEqual(attributes(large), ['n', 'f.a', 'f.b', 'f.whole', 'return.0.v']);
    assert.equal(shown(large, 'arg.f.a', word(0b10111_101n)), 0b101);
    assert.equal(shown(large, 'arg.f.b', word(0b10111_101n)), 0b10111);
    assert.deepEqual(large.refused, ['underspan.arg.f.b.c: unsigned int has no field c']);
    const five = Buffer.alloc(40);
    five.writeBigInt64LE(-9n, 8);
    assert.equal(shown(large, 'return.0.v', five), '[0 -9 0 0 0]');
  });

  test('what results are errors', options, async () => {
    const module = await build('gcc', C, '.c', ['-g', '-O2', '-w']);
    const errorOf = async (name: RegExp, errors: ErrorMode[] | null): Promise<unknown> => {
      const { error } = await planned(module, name, { errors });
      return error && [error.kind, error.at, error.offset, error.size, error.value, error.type];
    };
    assert.equal(await errorOf(/^numbers$/, null), null);
    assert.equal(await errorOf(/^numbers$/, ['null']), null);
    const negative = [ErrorKind.NEGATIVE, 6, 0, 4, 0n, null];
    assert.deepEqual(await errorOf(/^numbers$/, ['null', 'negative']), negative);
    assert.deepEqual(await errorOf(/^records$/, ['negative']), [
      ErrorKind.NEGATIVE,
      6,
      0,
      8,
      0n,
      null,
    ]);
    assert.deepEqual(await errorOf(/^stacked$/, ['null']), [ErrorKind.EQUAL, 6, 0, 8, 0n, null]);
    assert.equal(await errorOf(/^nothing$/, ['negative', 'null', 'err']), null);
    const numbers = await planned(module, /^numbers$/, { errors: ['negative'] });
    const minus = Buffer.from([0xfe, 0xff, 0xff, 0xff]);
    assert.deepEqual(failure(numbers, minus), ['returned -2', undefined]);
    const stacked = await planned(module, /^stacked$/, { errors: ['null'] });
    assert.deepEqual(failure(stacked, null), ['returned null', undefined]);
  });

  test('what a compiler has changed is not guessed at', options, async () => {
    const source = `
      #include <stdio.h>
      struct two { long a, b; };
      __attribute__((noinline)) static int changed(struct two *p, int constant, int n)
        { printf("%ld %d %d", p->a, constant, n); return n; }
      int main(int argc, char **argv) { struct two t = {argc, 2}; changed(&t, 3, argc); return 0; }`;
    const module = await build('gcc', source, '.c', ['-g', '-O2', '-w']);
    const found = places(await functionOf(module, /^changed/));
    assert.match(found['constant'] ?? '', /constant|optimised/);
    assert.match(found['=>'] ?? '', /has changed how the function is called/);
    const { parameters } = await functionOf(module, /^changed/);
    const p = parameters.find(({ name }) => name === 'p');
    assert.notEqual(p?.problem, null);
  });
});

const CPP = `
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>
namespace ns {
struct Base { int id; virtual ~Base() {} };
struct Derived : Base { std::string name; int n; };
struct Pod { int a; float b; };
struct Both { Pod pod; long l; };
enum class Color : unsigned char { RED, GREEN = 7 };
struct Empty {};
struct Copied { int x; Copied(const Copied &o) : x(o.x) {} Copied() : x(3) {} };
struct Plain { int x; Plain() : x(3) {} Plain(const Plain &) = default; };
class Widget {
  int size_; std::string label_;
public:
  Widget(int s, std::string l) : size_(s), label_(std::move(l)) {}
  __attribute__((noinline)) int measure(const std::string &text, std::string_view view, Color c);
};
int Widget::measure(const std::string &text, std::string_view view, Color c)
  { printf("%s", text.c_str()); return size_ + (int)text.size() + (int)view.size() + (int)c; }
__attribute__((noinline)) std::string join(const std::string &a, std::string b, Pod p, Empty e, Copied c, std::unique_ptr<int> u, Plain pl)
  { printf("%d%d%d%g%d", c.x, *u, p.a, p.b, pl.x); return a + b; }
__attribute__((noinline)) int derived(Derived &d, Derived *q, bool f, std::vector<int> v, int &out, Both both)
  { printf("%d", d.n + out + q->n); return d.id + f + (int)v.size() + (int)both.l; }
}
int main(int argc, char **argv) {
  ns::Widget w(argc, "label"); ns::Derived d; d.id = 4; d.name = "dd"; d.n = 9; int out = 3;
  printf("%d %s %d", w.measure("text", "view", ns::Color::GREEN),
    ns::join("a", argv[0], {1, 2.0f}, {}, {}, std::make_unique<int>(3), {}).c_str(),
    ns::derived(d, &d, true, {1, 2}, out, {{1, 2}, 3}));
}
`;

const CPP_PLACES: [RegExp, Record<string, string>][] = [
  [
    /^ns::Widget::measure$/,
    { this: 'rdi', text: 'rsi', view: '0:rdx 8:rcx', c: 'r8', '=>': 'rax' },
  ],
  [
    /^ns::join$/,
    {
      ...{ a: 'rsi', b: '*rdx', p: 'rcx', e: 'it has no content', c: '*r8', u: '*r9' },
      ...{ pl: 'stack+0', '=>': '*rax' },
    },
  ],
  [
    /^ns::derived$/,
    {
      ...{ d: 'rdi', q: 'rsi', f: 'rdx', v: '*rcx', out: 'r8', both: 'stack+0' },
      '=>': 'rax',
    },
  ],
];

describe('C++', () => {
  for (const [compiler, ...flags] of [
    ['g++', '-g', '-O0'],
    ['g++', '-gdwarf-4', '-O2'],
    ['g++', '-gdwarf-5', '-O3'],
    ['clang++', '-g', '-O0'],
    ['clang++', '-gdwarf-5', '-O2'],
  ] as const) {
    const options = { skip: missingCommands(compiler) };
    test(`${compiler} ${flags.join(' ')}`, options, async () => {
      const module = await build(compiler, CPP, '.cc', ['-std=c++17', '-w', ...flags]);
      for (const [name, expected] of CPP_PLACES) {
        const fn = await functionOf(module, name);
        assert.equal(fn.language, 'c++');
        const found = places(fn);
        // Of what has no content some compilers still give a place.
        assert.deepEqual(found, { ...expected }, String(name));
      }
      const measure = await planned(module, /^ns::Widget::measure$/, {
        args: ['*', 'this.label_'],
      });
      assert.deepEqual(attributes(measure), [
        ...['this.size_', 'this.label_', 'text', 'view', 'c', 'return.0'],
      ]);
      const plan = (name: string): unknown[] => {
        const all = [...measure.arguments, ...measure.results];
        const { plan: found } = all.find(({ attribute }) => attribute.endsWith(name)) ?? {};
        return [found?.kind, found?.at, found?.path, found?.lengthAt];
      };
      assert.deepEqual(plan('arg.text'), [ValueKind.STRING, 1, [0], 8]);
      assert.deepEqual(plan('arg.view'), [ValueKind.STRING, 3, [], -8]);
      assert.deepEqual(plan('this.label_'), [ValueKind.STRING, 0, [8], 8]);
      assert.equal(shown(measure, 'arg.c', Buffer.of(7, 9, 9)), 'GREEN');

      const join = await planned(module, /^ns::join$/);
      assert.deepEqual(attributes(join), ['a', 'b', 'p.a', 'p.b', 'c.x', 'pl.x', 'return.0']);
      const pod = Buffer.alloc(24);
      pod.writeFloatLE(2.5, 4);
      assert.equal(shown(join, 'arg.p.b', pod), 2.5);

      const derived = await planned(module, /^ns::derived$/, {
        args: ['d.id', 'd.name', 'q.n', 'out', 'both.pod.b'],
      });
      assert.deepEqual(attributes(derived), [
        ...['d.id', 'd.name', 'q.n', 'out', 'both.pod.b', 'return.0'],
      ]);
      const [id, name] = derived.arguments;
      assert.deepEqual([id?.plan.path, name?.plan.path], [[8], [16]]);
    });
  }
});

const RUST = `
use std::hint::black_box;
pub struct Big { pub a: u64, pub name: String, pub tuple: (u8, i16) }
pub enum Failure { NotFound, Other(i32) }
pub struct Detailed { pub code: u8, pub message: String }
#[derive(Clone, Copy)] #[repr(u8)] pub enum Level { Low = 1, High = 9 }
macro_rules! keep { ($($body:item)*) => { $(#[inline(never)] #[no_mangle_is_not_wanted] $body)* } }
#[inline(never)] pub fn texts(s: &str, u: String, o: Option<&str>, v: Vec<u32>, b: &[u8]) -> usize
  { black_box((&s, &u, &o, &b, &v)); s.len() }
#[inline(never)] pub fn scalars(a: i8, b: u64, c: bool, d: char, e: Level, f: &i32, g: Box<u16>) -> i64
  { black_box((&a, &b, &c, &d, &e as *const Level as usize, &f, &g)); -(a as i64) - e as i64 }
#[inline(never)] pub fn pairs(p: (u8, u64), o: Option<u32>, big: &Big, m: Option<&Big>) -> (u32, u8)
  { black_box((&p, &o, &big, m.is_some())); (p.1 as u32, p.0) }
#[inline(never)] pub fn aggregates(p: [u16; 4], q: (u32, u32, u32), f: (f64, f64), n: u128) -> [u32; 3]
  { black_box((&p, &q, &f, &n)); [q.0, p[1] as u32, q.2] }
#[inline(never)] pub fn in_memory(n: i32) -> Result<u32, String>
  { if black_box(n) < 0 { Err(format!("bad {}", n)) } else { Ok(black_box(n as u32)) } }
#[inline(never)] pub fn in_pair(n: i32) -> Result<u64, &'static u64>
  { if black_box(n) < 0 { Err(black_box(&7)) } else { Ok(black_box(n as u64)) } }
#[inline(never)] pub fn packed(n: i32) -> Result<u32, Failure>
  { if black_box(n) < 0 { Err(Failure::NotFound) } else if black_box(n) > 5 { Err(Failure::Other(n)) } else { Ok(black_box(n as u32)) } }
#[inline(never)] pub fn detailed(n: i32) -> Result<(), Detailed>
  { if black_box(n) < 0 { Err(Detailed { code: 3, message: format!("{}", n) }) } else { Ok(()) } }
#[inline(never)] pub fn io(n: i32) -> std::io::Result<usize>
  { if black_box(n) < 0 { Err(std::io::Error::other("x")) } else { Ok(black_box(n as usize)) } }
fn main() {
  let n = std::env::args().count() as i32;
  let b = Big { a: black_box(1), name: "x".to_string(), tuple: (1, 2) };
  black_box(texts as fn(_, _, _, _, _) -> _); black_box(scalars as fn(_, _, _, _, _, _, _) -> _);
  black_box(pairs as fn(_, _, _, _) -> _); black_box(aggregates as fn(_, _, _, _) -> _);
  black_box(in_memory as fn(_) -> _); black_box(in_pair as fn(_) -> _); black_box(packed as fn(_) -> _);
  black_box(detailed as fn(_) -> _); black_box(io as fn(_) -> _);
  println!("{}", texts(&b.name, "u".into(), Some("o"), vec![1, 2], b"bytes"));
  println!("{}", scalars(1, 2, true, 'c', if n > 7 { Level::Low } else { Level::High }, &n, Box::new(3)));
  println!("{:?}", pairs((1, 2), Some(n as u32), &b, Some(&b)));
  println!("{:?}", aggregates([1, 2, 3, 4], (1, 2, 3), (1.0, 2.0), 5));
  println!("{:?} {:?} {}", in_memory(n), in_pair(n), packed(n).is_ok());
  println!("{} {:?} {} {}", detailed(n).is_ok(), io(n), b.a, b.tuple.0);
}
`.replace(/^macro_rules.*\n/m, '');

const RUST_PLACES: [RegExp, Record<string, string>][] = [
  [
    /^values::texts$/,
    {
      ...{ s: '0:rdi 8:rsi', u: '*rdx', o: '0:rcx 8:r8', v: '*r9' },
      ...{ b: 'stack+0', '=>': 'rax' },
    },
  ],
  [
    /^values::scalars$/,
    {
      ...{ a: 'rdi', b: 'rsi', c: 'rdx', d: 'rcx', e: 'r8', f: 'r9', g: 'stack+0' },
      '=>': 'rax',
    },
  ],
  [
    /^values::pairs$/,
    {
      ...{ p: '0:rdi 8:rsi', o: '0:rdx 4:rcx', big: 'r8', m: 'r9' },
      '=>': '0:rax 4:rdx',
    },
  ],
  [
    /^values::aggregates$/,
    { p: 'rsi', q: '*rdx', f: '0:xmm0 8:xmm1', n: '0:rcx 8:r8', '=>': '*rax' },
  ],
  [/^values::in_memory$/, { n: 'rsi', '=>': '*rax' }],
  [/^values::in_pair$/, { n: 'rdi', '=>': '0:rax 8:rdx' }],
  [/^values::packed$/, { n: 'rdi', '=>': 'rax' }],
  [/^values::detailed$/, { n: 'rsi', '=>': '*rax' }],
  [/^values::io$/, { n: 'rdi', '=>': '0:rax 8:rdx' }],
];

describe('Rust', () => {
  for (const flags of [['-g'], ['-g', '-Copt-level=1'], ['-g', '-Copt-level=3']]) {
    const options = { skip: missingCommands('rustc'), timeout: 120_000 };
    test(`rustc ${flags.join(' ')}`, options, async () => {
      const module = await build('rustc', RUST, '.rs', ['--crate-name', 'values', ...flags]);
      for (const [name, expected] of RUST_PLACES) {
        const fn = await functionOf(module, name);
        assert.equal(fn.language, 'rust');
        assert.deepEqual(places(fn), expected, String(name));
      }
      const texts = await planned(module, /^values::texts$/);
      assert.deepEqual(attributes(texts), ['s', 'u', 'o', 'v', 'b', 'return.0']);
      const kinds = texts.arguments.map(({ plan }) => plan.kind);
      const { STRING, SLICE } = ValueKind;
      assert.deepEqual(kinds, [STRING, STRING, SLICE, SLICE, STRING]);
      assert.equal(shown(texts, 'arg.o', NOTHING), 'None');
      const list = Buffer.from([1, 0, 0, 0, 255, 0, 0, 0]);
      assert.equal(shown(texts, 'arg.v', list, 3), '[1 255 … 1 more]');

      const scalars = await planned(module, /^values::scalars$/);
      assert.deepEqual(attributes(scalars), ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'return.0']);
      assert.equal(shown(scalars, 'arg.d', Buffer.from([0xac, 0x20, 0, 0])), '€');
      assert.equal(shown(scalars, 'arg.e', Buffer.of(9, 0xff)), 'High');
      assert.deepEqual(
        scalars.arguments.map(({ plan }) => plan.path.length),
        [...[0, 0, 0, 0, 0, 1, 2]],
      );

      const pairs = await planned(module, /^values::pairs$/, {
        args: ['*', 'big.tuple.1', 'o.Some', 'o.Other', 'o.Some.1'],
      });
      assert.deepEqual(attributes(pairs), [
        ...['p.0', 'p.1', 'o', 'big.a', 'big.name', 'm', 'big.tuple.1', 'o.Some'],
        ...['return.0.0', 'return.0.1'],
      ]);
      const some = Buffer.alloc(24, 0x77);
      some.writeUInt32LE(1, 0);
      some.writeUInt32LE(42, 8);
      assert.equal(shown(pairs, 'arg.o', some), 'Some(42)');
      some.writeUInt32LE(0, 0);
      assert.equal(shown(pairs, 'arg.o', some), 'None');
      assert.equal(shown(pairs, 'arg.o.Some', some), 'None');
      some.writeUInt32LE(1, 0);
      assert.equal(shown(pairs, 'arg.o.Some', some), 42);
      // Older compilers name it Some<u32>.
      const refused = pairs.refused.map((each) => each.replace('Some<u32>', 'Some'));
      assert.deepEqual(refused, [
        'underspan.arg.o.Other: Option<u32> has no variant Other; it has None, Some',
        'underspan.arg.o.Some.1: Some has no field 1; it has 0',
      ]);
    });

    test(`errors of rustc ${flags.join(' ')}`, options, async () => {
      const module = await build('rustc', RUST, '.rs', ['--crate-name', 'values', ...flags]);
      const errorOf = async (name: RegExp): Promise<unknown> => {
        const { error } = await planned(module, name, { args: [], returns: false });
        assert.ok(error, String(name));
        const { read, ...rest } = error;
        const shape = read && 'shape' in read.type ? read.type.shape : null;
        return [rest.kind, rest.at, rest.inMemory, rest.offset, rest.size, rest.type, shape];
      };
      const { EQUAL, UNEQUAL } = ErrorKind;
      const text: Shape['shape'] = 'text';
      assert.deepEqual(await errorOf(/^values::in_memory$/), [
        ...[UNEQUAL, 6, true, 0, 8, 'alloc::string::String', text],
      ]);
      assert.deepEqual(await errorOf(/^values::in_pair$/), [EQUAL, 6, false, 0, 8, '&u64', 'uint']);
      assert.deepEqual(await errorOf(/^values::packed$/), [
        ...[UNEQUAL, 6, false, 0, 4, 'values::Failure', 'variant'],
      ]);
      assert.deepEqual(await errorOf(/^values::detailed$/), [
        ...[UNEQUAL, 6, true, 0, 8, 'values::Detailed', text],
      ]);
      const inMemory = await planned(module, /^values::in_memory$/);
      const said = Buffer.from('bad -1');
      assert.deepEqual(failure(inMemory, said, 6), ['bad -1', 'alloc::string::String']);
      assert.deepEqual(failure(inMemory, null), [undefined, 'alloc::string::String']);
      const packed = await planned(module, /^values::packed$/);
      const other = Buffer.alloc(24);
      other.writeUInt32LE(1, 0);
      other.writeInt32LE(-9, 4);
      assert.deepEqual(failure(packed, other), ['Other(-9)', 'values::Failure']);
      assert.deepEqual(await errorOf(/^values::io$/), [
        ...[EQUAL, 6, false, 0, 8, 'std::io::error::Error', null],
      ]);
    });
  }
});
