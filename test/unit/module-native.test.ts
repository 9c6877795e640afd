import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import { FunctionKind, type FunctionTable } from '../../src/native/native.js';
import { matchAll, parsePattern } from '../../src/symbols/patterns.js';
import { missingCommands } from '../tools/require.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-native-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const file = (name: string): string => join(directory, name);
const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd: directory, encoding: 'utf8' });

interface Row {
  name: string;
  signature: string;
  address: number;
  size: number;
  kind: number;
}

async function functionsOf(
  path: string,
  roots?: string[],
): Promise<Row[] & { table: FunctionTable }> {
  const module = await native.openModule(path, roots);
  const table = await module.functions();
  module.close();
  const signatures = table.signatures.split('\n');
  const rows = table.names.split('\n').map((name, i) => ({
    name,
    signature: signatures[i] ?? 'missing',
    address: table.addresses[i] ?? NaN,
    size: table.sizes[i] ?? NaN,
    kind: table.kinds[i] ?? NaN,
  }));
  assert.equal(signatures.length, rows.length);
  return Object.assign(rows, { table });
}

const named = (rows: Row[], name: string): Row[] => rows.filter((row) => row.name === name);
const theOne = (rows: Row[], name: string): Row => {
  const [row, ...others] = named(rows, name);
  assert.ok(row, `${name} is missing`);
  assert.deepEqual(others, []);
  return row;
};

describe('a C++ program', { skip: missingCommands('g++', 'objcopy', 'strip', 'xz') }, () => {
  const source = `
#include <string>
#include <vector>
#define KEEP __attribute__((noinline, used))
namespace ns {
struct Class {
  int field;
  KEEP Class(int f) : field(f) {}
  KEEP ~Class() { field = 0; }
  KEEP int method(int x) const { return field + x; }
  KEEP int method(char const *x) { return field + x[0]; }
  KEEP int operator()(int x) { return x + field; }
  KEEP Class &operator<<(std::string const &text) { field += (int)text.size(); return *this; }
  KEEP operator bool() const { return field != 0; }
};
template <typename T> struct Box { T item; KEEP T &get() { return item; } };
template <typename T> KEEP T twice(T x) { return x + x; }
KEEP std::string tagged() { return "x"; }
}
namespace { KEEP int hidden(int x) { return x * 3; } }
extern "C" KEEP int plain(int x) { return x + 7; }
int main(int argc, char **argv) {
  ns::Class c(argc);
  ns::Box<std::vector<int>> box;
  auto lambda = [&](int x) KEEP { return c.method(x) + plain(x); };
  c << argv[0];
  return lambda(argc) + c(argc) + c.method(argv[0]) + (int)box.get().size() + hidden(argc) +
    ns::twice<int>(argc) + (int)ns::tagged().size() + (c ? 1 : 0);
}
`;
  const debugRoot = file('root');
  before(() => {
    writeFileSync(file('cpp.cc'), source);
    run('g++', '-O1', '-g', '-Wl,--build-id', '-o', 'cpp', 'cpp.cc');
    copyFileSync(file('cpp'), file('cpp-stripped'));
    run('strip', 'cpp-stripped');
    run('objcopy', '--only-keep-debug', 'cpp', 'cpp.debug');
    // As Fedora does: the symbols that .dynsym lacks, compressed, in the program itself.
    run('objcopy', '--strip-debug', 'cpp.debug', 'mini');
    run('xz', '-k', 'mini');
    run('objcopy', '--add-section', '.gnu_debugdata=mini.xz', 'cpp-stripped', 'cpp-mini');
  });

  const byBuildId = async (): Promise<string> => {
    const module = await native.openModule(file('cpp'));
    const id = module.facts.buildId ?? '';
    module.close();
    return join(debugRoot, 'usr/lib/debug/.build-id', id.slice(0, 2), `${id.slice(2)}.debug`);
  };

  const checkNames = (rows: Row[]): void => {
    const signatures = (name: string): string[] =>
      named(rows, name).map(({ signature }) => signature);
    assert.deepEqual(signatures('ns::Class::method').sort(), [
      'ns::Class::method(char const*)',
      'ns::Class::method(int) const',
    ]);
    assert.deepEqual(signatures('ns::Class::Class'), ['ns::Class::Class(int)']);
    assert.deepEqual(signatures('ns::Class::~Class'), ['ns::Class::~Class()']);
    assert.deepEqual(signatures('ns::Class::operator()'), ['ns::Class::operator()(int)']);
    assert.deepEqual(signatures('ns::Class::operator<<'), [
      'ns::Class::operator<<(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)',
    ]);
    assert.deepEqual(signatures('ns::Class::operator bool'), ['ns::Class::operator bool() const']);
    assert.deepEqual(signatures('ns::Box<std::vector<int, std::allocator<int> > >::get'), [
      'ns::Box<std::vector<int, std::allocator<int> > >::get()',
    ]);
    assert.deepEqual(signatures('ns::twice<int>'), ['ns::twice<int>(int)']);
    assert.deepEqual(signatures('ns::tagged'), ['ns::tagged()']);
    assert.deepEqual(signatures('(anonymous namespace)::hidden'), [
      '(anonymous namespace)::hidden(int)',
    ]);
    assert.deepEqual(signatures('plain'), ['']);
    assert.deepEqual(signatures('main'), ['']);
    assert.deepEqual(signatures('main::{lambda(int)#1}::operator()'), [
      'main::{lambda(int)#1}::operator()(int) const',
    ]);
  };

  test('names are those of the language', async () => {
    const rows = await functionsOf(file('cpp'));
    checkNames(rows);
    assert.equal(rows.table.source, 'symtab');
    assert.ok(rows.every(({ kind }) => kind === FunctionKind.FUNCTION));
    // Stubs of the procedure linkage table.
    assert.deepEqual(named(rows, 'strlen'), []);
  });

  test('patterns mean names, and signatures where they speak of parameters', async () => {
    const { table } = await functionsOf(file('cpp'));
    const names = table.names.split('\n');
    const signatures = table.signatures.split('\n');
    const found = (text: string): string[] =>
      matchAll([parsePattern(text)], [], table)
        .indexes.map((index) => signatures[index] || (names[index] ?? ''))
        .sort();
    const both = ['ns::Class::method(char const*)', 'ns::Class::method(int) const'];
    assert.deepEqual(found('ns::Class::method'), both);
    assert.deepEqual(found('ns::Class::method(int)'), []);
    assert.deepEqual(found('ns::Class::method(int) const'), [both[1]]);
    assert.deepEqual(found('ns::Class::method(int)*'), [both[1]]);
    assert.deepEqual(found('ns::Class::operator()'), ['ns::Class::operator()(int)']);
    assert.equal(found('ns::Class::operator<<').length, 1);
    assert.deepEqual(found('ns::twice'), ['ns::twice<int>(int)']);
    assert.deepEqual(found('ns::Box::get'), [
      'ns::Box<std::vector<int, std::allocator<int> > >::get()',
    ]);
    assert.deepEqual(found('ns::Box<std::vector<int,std::allocator<int>>>::get').length, 1);
    assert.deepEqual(found('(anonymous namespace)::hidden'), [
      '(anonymous namespace)::hidden(int)',
    ]);
    assert.deepEqual(found('main'), ['main']);
  });

  test('a stripped program by its debug file', async () => {
    const path = await byBuildId();
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(file('cpp.debug'), path);
    assert.deepEqual(named(await functionsOf(file('cpp-stripped')), 'main'), []);
    const rows = await functionsOf(file('cpp-stripped'), [debugRoot]);
    checkNames(rows);
    assert.deepEqual(rows, await functionsOf(file('cpp')));
    const module = await native.openModule(file('cpp-stripped'), [debugRoot]);
    assert.deepEqual([module.facts.hasSymbols, module.facts.hasDwarf], [true, true]);
    const [line] = await module.lines(Float64Array.of(theOne(rows, 'plain').address));
    assert.equal(line?.file, file('cpp.cc'));
    module.close();
  });

  test('a debug file of another program is none', async () => {
    const path = await byBuildId();
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(
      file('other.c'),
      'int other(void) { return 1; } int main(void) { return other(); }',
    );
    run('gcc', '-g', '-Wl,--build-id', '-o', path, 'other.c');
    const rows = await functionsOf(file('cpp-stripped'), [debugRoot]);
    assert.deepEqual(named(rows, 'other'), []);
    assert.deepEqual(named(rows, 'main'), []);
  });

  test('a debug file that .gnu_debuglink names, by its checksum', async () => {
    run('objcopy', '--remove-section', '.note.gnu.build-id', 'cpp-stripped', 'cpp-linked');
    run('objcopy', '--add-gnu-debuglink=cpp.debug', 'cpp-linked');
    mkdirSync(file('.debug'), { recursive: true });
    run('objcopy', '--remove-section', '.note.gnu.build-id', 'cpp.debug', '.debug/cpp.debug');
    // The one in .debug has another checksum, and so must the one beside it be taken.
    checkNames(await functionsOf(file('cpp-linked'), ['/']));
    rmSync(file('cpp.debug'));
    assert.deepEqual(named(await functionsOf(file('cpp-linked'), ['/']), 'main'), []);
    run('objcopy', '--only-keep-debug', 'cpp', 'cpp.debug');
  });

  test('symbols in .gnu_debugdata', async () => {
    const rows = await functionsOf(file('cpp-mini'));
    checkNames(rows);
    assert.deepEqual(rows, await functionsOf(file('cpp')));
    const broken = file('cpp-broken');
    writeFileSync(file('broken.xz'), 'this is no xz');
    run('objcopy', '--add-section', '.gnu_debugdata=broken.xz', 'cpp-stripped', broken);
    await assert.rejects(functionsOf(broken), { code: 'ELF_MALFORMED' });
  });
});

describe('what symbol tables of C programs say', { skip: missingCommands('gcc', 'strip') }, () => {
  test('of versions the one that programs are linked with', async () => {
    writeFileSync(
      file('versions.c'),
      `int old_answer(void) { return 1; } int new_answer(void) { return 2; }
       __asm__(".symver old_answer, answer@V1"); __asm__(".symver new_answer, answer@@V2");`,
    );
    writeFileSync(file('versions.map'), 'V1 { global: answer; local: *; }; V2 { } V1;');
    const flags = ['-shared', '-fPIC', '-Wl,--version-script=versions.map'];
    run('gcc', ...flags, '-o', 'versions.so', 'versions.c');
    copyFileSync(file('versions.so'), file('versions-stripped.so'));
    const whole = await functionsOf(file('versions.so'));
    const answer = theOne(whole, 'answer');
    assert.equal(answer.address, theOne(whole, 'new_answer').address);
    run('strip', 'versions-stripped.so');
    const stripped = await functionsOf(file('versions-stripped.so'));
    assert.equal(theOne(stripped, 'answer').address, answer.address);
    assert.equal(stripped.table.source, 'dynsym');
  });

  test('resolvers are told from functions', async () => {
    writeFileSync(
      file('ifunc.c'),
      `static int one(void) { return 1; }
       static int (*resolve(void))(void) { return one; }
       int chosen(void) __attribute__((ifunc("resolve")));`,
    );
    run('gcc', '-shared', '-fPIC', '-o', 'ifunc.so', 'ifunc.c');
    const rows = await functionsOf(file('ifunc.so'));
    assert.equal(theOne(rows, 'chosen').kind, FunctionKind.IFUNC);
    assert.equal(theOne(rows, 'chosen').address, theOne(rows, 'resolve').address);
    assert.equal(theOne(rows, 'one').kind, FunctionKind.FUNCTION);
  });

  test('cold parts belong to their functions, also where names are the same', async () => {
    const unit = (name: string): string => `
      #include <stdio.h>
      #include <stdlib.h>
      __attribute__((cold, noinline)) static void fail(int x) { printf("${name} %d\\n", x); }
      __attribute__((noinline)) static int work(int x) {
        if (__builtin_expect(x > 1000, 0)) { fail(x); puts("${name}"); abort(); }
        return x * 2;
      }
      int ${name}(int x) { return work(x) + 1; }`;
    writeFileSync(file('a.c'), unit('first'));
    writeFileSync(file('b.c'), unit('second'));
    writeFileSync(
      file('m.c'),
      'int first(int); int second(int); int main(int c, char **v) { return first(c) + second(c); }',
    );
    const flags = ['-O2', '-freorder-blocks-and-partition', '-fno-ipa-icf'];
    run('gcc', ...flags, '-o', 'cold', 'a.c', 'b.c', 'm.c');
    const rows = await functionsOf(file('cold'));
    const { parts, addresses } = rows.table;
    const bodies = named(rows, 'work');
    assert.equal(bodies.length, 2);
    const owners = [...parts.functions].map((index) => addresses[index]);
    for (const { address } of bodies) {
      assert.equal(owners.filter((owner) => owner === address).length, 1);
    }
    // The cold part of either jumps from its own function: the nearest symbols in the table.
    const nm = run('nm', '-n', 'cold');
    const cold = [...nm.matchAll(/^(\w+) t work\.cold/gm)].map(([, hex = '']) => parseInt(hex, 16));
    assert.deepEqual([...parts.addresses].filter((at) => cold.includes(at)).sort(), cold.sort());
    const inOrder = [...parts.functions].map((index, i) => [addresses[index], parts.addresses[i]]);
    const ofWork = inOrder.filter(([, at]) => cold.includes(at ?? 0));
    ofWork.sort(([a = 0], [b = 0]) => a - b);
    assert.deepEqual(
      ofWork.map(([, at]) => at),
      cold.sort((a, b) => a - b),
    );
    assert.ok(!rows.some(({ name }) => name.includes('.cold')));
  });

  test('assembly without sizes reaches to the next symbol of its section', async () => {
    writeFileSync(
      file('asm.s'),
      `.text
       .globl one, two, last
       .type one, @function
       .type two, @function
       .type last, @function
       one: mov $1, %eax
       ret
       two: mov $2, %eax
       ret
       .section .code, "ax", @progbits
       last: ret
       .section .note.GNU-stack, "", @progbits
`,
    );
    run('gcc', '-shared', '-nostdlib', '-o', 'asm.so', 'asm.s');
    const rows = await functionsOf(file('asm.so'));
    assert.deepEqual(
      ['one', 'two', 'last'].map((name) => theOne(rows, name).size),
      [6, 0, 0],
    );
  });

  test('copies that the compiler made have the name of their function', async () => {
    writeFileSync(
      file('copies.s'),
      ['parse.isra.0', 'parse.constprop.0.isra.0', 'parse.part.0', '_ZN1aC2Ev.constprop.1', 'v1.2']
        .map((name) => `.type "${name}", @function\n"${name}": ret\n.size "${name}", 1\n`)
        .join(''),
    );
    run('gcc', '-shared', '-nostdlib', '-o', 'copies.so', 'copies.s');
    const rows = await functionsOf(file('copies.so'));
    assert.equal(named(rows, 'parse').length, 3);
    assert.equal(theOne(rows, 'a::a').signature, 'a::a()');
    theOne(rows, 'v1.2');
  });

  test('names that are made to keep a reader busy are left as they are', async () => {
    let doubling = '_Z1fSt4pairIiiE';
    for (let i = 0; i < 30; i++)
      doubling += `S_IS${i.toString(36).toUpperCase()}_S${i.toString(36).toUpperCase()}_E`;
    const names = [
      doubling,
      `_Z1f${'P'.repeat(12_000)}i`,
      `_Z1f${'1AI'.repeat(4_000)}i${'E'.repeat(4_000)}`,
      `_RINvC1a1b${'T'.repeat(4_000)}${'E'.repeat(4_001)}`,
      `_RNvC1a${'B_'.repeat(2_000)}`,
      `_Z1f${'N'.repeat(4_000)}`,
      '_Z',
      '_R',
      '_ZN',
      '_ZN3abc',
    ];
    writeFileSync(
      file('hostile.s'),
      names.map((name) => `.type ${name}, @function\n${name}: ret\n.size ${name}, 1\n`).join(''),
    );
    run('gcc', '-shared', '-nostdlib', '-o', 'hostile.so', 'hostile.s');
    const rows = await functionsOf(file('hostile.so'));
    const known = new Set(rows.map(({ name }) => name));
    for (const name of names) assert.ok(known.has(name) || known.has('f'), name.slice(0, 40));
    assert.ok(rows.table.names.length + rows.table.signatures.length < 200_000);
  });
});

describe('a Rust program', { skip: missingCommands('rustc') }, () => {
  const source = `
pub trait Speak { fn speak(&self) -> usize; }
pub struct Dog<T>(pub T);
impl<T: Copy + Into<usize>> Speak for Dog<T> { #[inline(never)] fn speak(&self) -> usize { self.0.into() } }
impl<T> Dog<T> { #[inline(never)] pub fn name(&self) -> usize { std::mem::size_of::<T>() } }
pub mod inner { #[inline(never)] pub fn generic<T: std::fmt::Debug>(x: T) -> usize { format!("{:?}", x).len() } }
fn main() {
    let dog = Dog(std::env::args().count() as u8);
    let call: &dyn Fn(usize) -> usize = &|x| x + dog.name();
    std::process::exit((dog.speak() + call(1) + inner::generic(&[1u8][..])) as i32 & 1);
}
`;
  const rowsOf = async (mangling: string): Promise<Row[]> => {
    writeFileSync(file('dog.rs'), source);
    const out = `dog-${mangling}`;
    // The legacy one may be asked for on unstable compilers only, since it is no longer the default.
    const version = `symbol-mangling-version=${mangling}`;
    const flags = ['--edition', '2021', '-Z', 'unstable-options', '-C', version, '-o', out];
    execFileSync('rustc', [...flags, 'dog.rs'], {
      cwd: directory,
      stdio: 'pipe',
      env: { ...process.env, RUSTC_BOOTSTRAP: '1' },
    });
    return functionsOf(file(out));
  };

  test('the v0 mangling', async () => {
    const rows = await rowsOf('v0');
    theOne(rows, '<dog::Dog<u8> as dog::Speak>::speak');
    theOne(rows, '<dog::Dog<u8>>::name');
    theOne(rows, 'dog::inner::generic::<&[u8]>');
    theOne(rows, 'dog::main::{closure#0}');
    assert.equal(theOne(rows, 'dog::main').signature, '');
  });

  test('the legacy mangling', async () => {
    const rows = await rowsOf('legacy');
    theOne(rows, '<dog::Dog<T> as dog::Speak>::speak');
    theOne(rows, 'dog::Dog<T>::name');
    theOne(rows, 'dog::inner::generic');
    theOne(rows, 'dog::main::{{closure}}');
    assert.ok(!rows.some(({ name }) => /::h[0-9a-f]{16}$/.test(name)));
  });
});
