import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UnderspanError } from '../../src/errors.js';
import { matchAll, matches, parsePattern } from '../../src/symbols/patterns.js';
import { distance, hintFor, refuseShellExpanded, suggest } from '../../src/symbols/suggest.js';

const usage = (code: string) => (error: unknown) =>
  error instanceof UnderspanError && error.kind === 'usage' && error.code === code;

test('the module is told from the name by its look', () => {
  const cases: [string, object, string][] = [
    ['main.*', { kind: 'main' }, 'main.*'],
    ['kernel:tcp_*', { kind: 'kernel' }, 'tcp_*'],
    ['libssl.so.3:SSL_*', { kind: 'library', file: 'libssl.so.3' }, 'SSL_*'],
    ['libssl.so:/^SSL/', { kind: 'library', file: 'libssl.so' }, '/^SSL/'],
    ['/usr/lib/libc.so.6:malloc', { kind: 'path', path: '/usr/lib/libc.so.6' }, 'malloc'],
    ['/usr/bin/postgres:/exec.*/', { kind: 'path', path: '/usr/bin/postgres' }, '/exec.*/'],
    ['./shop:main.*', { kind: 'path', path: './shop' }, 'main.*'],
    ['lib/x.so:ns::f', { kind: 'path', path: 'lib/x.so' }, 'ns::f'],
    ['ns::Class::method', { kind: 'main' }, 'ns::Class::method'],
    ['go:itab.*os.File,io.Reader', { kind: 'main' }, 'go:itab.*os.File,io.Reader'],
    ['type:.eq.main.T', { kind: 'main' }, 'type:.eq.main.T'],
    ['net/http.(*ServeMux).ServeHTTP', { kind: 'main' }, 'net/http.(*ServeMux).ServeHTTP'],
    ['/main\\.(a|b):c/', { kind: 'main' }, '/main\\.(a|b):c/'],
  ];
  for (const [text, module, name] of cases) {
    const pattern = parsePattern(text);
    assert.deepEqual([pattern.module, pattern.name], [module, name], text);
  }
});

test('names match as the languages write them', () => {
  const cases: [string, string, boolean][] = [
    ['main.Order.Confirm', 'main.(*Order).Confirm', true],
    ['main.Order.Confirm', 'main.Order.Confirm', true],
    ['main.Order.Confirm', 'main.(*Order).Confirm.func1', false],
    ['main.Order.Confirm', 'main.(*Order).Confirmed', false],
    ['main.Order.Confirm.func1', 'main.(*Order).Confirm.func1', true],
    ['main.Order.*', 'main.(*Order).Confirm', true],
    ['main.Order.*', 'main.(*OrderLine).Confirm', false],
    ['main.(*Order).Confirm', 'main.(*Order).Confirm', true],
    ['main.(*Order).Confirm', 'main.Order.Confirm', false],
    ['main.(*Order).Confirm', 'main.(*BigOrder).Confirm', false],
    ['main.(*).Confirm', 'main.(*BigOrder).Confirm', true],
    ['main.(*Ord*).Confirm', 'main.(*Order).Confirm', true],
    ['*.Confirm', 'example.com/shop.(*Order).Confirm', true],
    ['*Order.Confirm', 'main.(*Order).Confirm', true],
    ['main.*', 'main.(*Order).Confirm', true],
    ['main.*', 'mainly.f', false],
    ['main.Order', 'xmain.Order', false],
    ['net/http.ServeMux.ServeHTTP', 'net/http.(*ServeMux).ServeHTTP', true],
    ['gopkg.in/yaml.v3.Unmarshal', 'gopkg.in/yaml%2ev3.Unmarshal', true],
    ['main.Map', 'main.Map[...]', true],
    ['main.Map', 'main.Map[go.shape.int]', true],
    ['main.Map', 'main.Mapper', false],
    ['main.Map[...]', 'main.Map[go.shape.int]', true],
    ['main.List.Push', 'main.(*List[...]).Push', true],
    ['main.(*List).Push', 'main.(*List[go.shape.string]).Push', true],
    ['main.(*List[...]).Push', 'main.(*List[go.shape.string]).Push', true],
    ['glob..func1', 'glob..func1', true],
    ['main.Order.Confirm-fm', 'main.(*Order).Confirm-fm', true],
    ['ns::Class::method', 'ns::Class::method(int, char const*) const', true],
    ['ns::Class::method', 'ns::Class::methods(int)', false],
    ['ns::Class::method(int)', 'ns::Class::method(int)', true],
    ['ns::Class::method', 'ns::Class::method(int)::{lambda()#1}::operator()', false],
    ['ns::Class::method', 'ns::Class<int>::method', true],
    ['ns::Class::method', 'ns::Class<a<b> >::method<int>', true],
    ['a::b', 'a<x>::c<y>::b', false],
    ['a::b<int>', 'a::b<int>', true],
    ['a::b<int>', 'a::b<long>', false],
    ['a::b<c<d,e>>', 'a::b<c<d, e> >', true],
    ['ns::operator<<', 'ns::operator<<', true],
    ['ns::operator()', 'ns::operator()', true],
    ['ns::*', 'ns::Class::method', true],
    ['ns::*', 'nsx::f', false],
    ['(anonymous namespace)::f', '(anonymous namespace)::f', true],
    ['core::fmt::write', 'core::fmt::write', true],
    ['alloc::vec::Vec::push', '<alloc::vec::Vec<u8>>::push', true],
    ['dog::inner::generic', 'dog::inner::generic::<&[u8]>', true],
    ['<T as Trait>::f', '<T as Trait>::f', true],
    ['<T as Trait>::f', '<U as Trait>::f', false],
    ['operator+', 'operator+', true],
    ['/Conf/', 'main.(*Order).Confirm', true],
    ['/^Conf/', 'main.(*Order).Confirm', false],
    ['a$b', 'a$b', true],
    ['*foo*bar*', 'main.(*foo).xbary', true],
    ['*foo*bar*', 'main.bar.foo', false],
    ['main.*Order*Con*', 'main.(*Order).Confirm', true],
    ['ns::*Class*::meth*', 'ns::Class<int>::method(int)', true],
  ];
  for (const [text, name, expected] of cases) {
    assert.equal(matches(parsePattern(text), name), expected, `${text} on ${name}`);
  }
});

test('what is not a pattern is a usage error', () => {
  for (const text of ['', 'kernel:', 'libc.so.6:', '/unclosed', '/a(/', 'a\nb', '/usr/bin/x']) {
    assert.throws(() => parsePattern(text), usage('PATTERN_INVALID'), text);
  }
});

const table = (): string => {
  const names: string[] = [];
  for (let i = 0; i < 120_000; i++) {
    names.push(`example.com/app/internal/package${i % 400}.(*Type${i % 997}).Method${i}`);
  }
  names[70_000] = 'main.(*Order).Confirm';
  names[70_001] = 'main.(*Order).Cancel';
  return names.join('\n');
};

test('a table is matched with counts for each pattern', () => {
  const joined = ['main.a', 'main.b', 'main.(*T).c', 'other.d'].join('\n');
  const patterns = ['main.*', 'main.T.c', 'nothing', '/^(o)ther|(x)\\2/'].map(parsePattern);
  const found = matchAll(patterns, [parsePattern('*.b')], joined);
  assert.deepEqual(found.indexes, [0, 2, 3]);
  assert.deepEqual(found.names, ['main.a', 'main.(*T).c', 'other.d']);
  assert.deepEqual(found.counts, [3, 1, 0, 1]);
  assert.equal(found.excluded, 1);
  assert.deepEqual(matchAll(patterns, [], '').indexes, []);
});

test('a signature counts for patterns that speak of parameters', () => {
  const functions = {
    names: ['ns::f', 'ns::f', 'ns::g', 'plain', '(anonymous namespace)::h'].join('\n'),
    signatures: [
      'ns::f(int)',
      'ns::f(ns::f*)',
      'ns::g(int)',
      '',
      '(anonymous namespace)::h(int)',
    ].join('\n'),
  };
  const found = (text: string, exclude?: string): number[] =>
    matchAll([parsePattern(text)], exclude ? [parsePattern(exclude)] : [], functions).indexes;
  assert.deepEqual(found('ns::f'), [0, 1]);
  assert.deepEqual(found('ns::f(int)'), [0]);
  assert.deepEqual(found('*(int)'), [0, 2, 4]);
  assert.deepEqual(found('/f/'), [0, 1]);
  assert.deepEqual(found('/\\(int\\)$/'), [0, 2, 4]);
  assert.deepEqual(found('ns::*', '*(int)'), [1]);
  assert.deepEqual(found('(anonymous namespace)::h'), [4]);
});

test('a table of 120,000 names is matched quickly', () => {
  const joined = table();
  const patterns = ['main.Order.*', 'kube/*.Nothing', 'net/http.(*ServeMux).ServeHTTP'];
  const begin = performance.now();
  const found = matchAll(patterns.map(parsePattern), [parsePattern('*Cancel')], joined);
  const took = performance.now() - begin;
  assert.deepEqual(found.indexes, [70_000]);
  // Meant to be below 100 ms; the rest is room for a busy machine.
  assert.ok(took < 500, `${took} ms`);
});

test('a name with many wildcards is compared in one pass', () => {
  const joined = Array.from({ length: 20 }, () => 'a'.repeat(3_000)).join('\n');
  for (const module of ['', 'kernel:']) {
    const pattern = parsePattern(`${module}${'*a'.repeat(30)}*b*`);
    assert.deepEqual(matchAll([pattern], [], joined).indexes, []);
  }
});

test('names of the kernel are words', () => {
  const cases: [string, string, boolean][] = [
    ['kernel:tcp_*', 'tcp_sendmsg', true],
    ['kernel:tcp_*', 'mptcp_sendmsg', false],
    ['kernel:*tcp*send*msg', 'mptcp_send_sendmsg', true],
    ['kernel:*tcp*send*msg', 'mptcp_send_sendmsg_locked', false],
    ['kernel:*aab*', 'aaab', true],
    ['kernel:*ab*ab*', 'ab', false],
    ['kernel:*ab*ab', 'abab', true],
    ['kernel:**', 'vfs_read', true],
    ['kernel:a.isra.0', 'a.isra.0', true],
    ['kernel:a.isra.0', 'a_isra.0', false],
    ['kernel:a', 'a[int]', false],
    ['kernel:/^vfs_(read|write)$/', 'vfs_write', true],
  ];
  for (const [text, name, expected] of cases) {
    assert.equal(matches(parsePattern(text), name), expected, `${text} on ${name}`);
  }
});

test('an expression that never ends is given up', () => {
  const joined = `${'a'.repeat(60)}!`;
  const patterns = [parsePattern('/^(a+)+$/')];
  assert.throws(() => matchAll(patterns, [], joined, 200), usage('PATTERN_TOO_SLOW'));
});

test('distance counts slips up to a limit', () => {
  assert.equal(distance('confirm', 'confrim', 3), 1);
  assert.equal(distance('confirm', 'kofirm', 3), 2);
  assert.equal(distance('confirm', 'confirm', 3), 0);
  assert.equal(distance('abc', 'xyzuvw', 2), 3);
});

test('the nearest names are suggested', () => {
  const joined = table();
  const nearest = (text: string): string[] => suggest(parsePattern(text), joined);
  const begin = performance.now();
  assert.equal(nearest('main.Order.Confrim')[0], 'main.(*Order).Confirm');
  assert.equal(nearest('confirm')[0], 'main.(*Order).Confirm');
  assert.equal(nearest('shop.Order.cancel')[0], 'main.(*Order).Cancel');
  assert.equal(nearest('/Konfirm/')[0], 'main.(*Order).Confirm');
  assert.deepEqual(nearest('mian.*'), ['main.*']);
  assert.deepEqual(nearest('package7.*').slice(0, 1), ['example.com/app/internal/package7.*']);
  assert.deepEqual(nearest('utterly.UnlikeAnything'), []);
  assert.ok(performance.now() - begin < 3_500);
});

test('a pattern without a function is explained', () => {
  const names = 'main.(*Order).Confirm\nmain.main';
  const hint = (text: string, exists = false) => hintFor(parsePattern(text), names, () => exists);
  assert.match(hint('main.Confrm'), /nearest names are 'main\.\(\*Order\)\.Confirm'/);
  assert.match(hint('main.go', true), /shell.*single quotes/);
  assert.match(hint('libc:malloc'), /with its \.so/);
  assert.match(hintFor(parsePattern('kernel:vfs_wirte'), 'vfs_write'), /'kernel:vfs_write'/);
  assert.match(hint('kernel:zzzzzzz'), /inlined/);
  assert.match(hint('zzzzzzz'), /trace symbols/);
});

test('patterns that are all files are refused', () => {
  const exists = (path: string): boolean => path.endsWith('.go');
  assert.throws(() => refuseShellExpanded(['main.go', 'a.go'], exists), usage('PATTERN_EXPANDED'));
  refuseShellExpanded(['main.go'], exists);
  refuseShellExpanded(['main.go', 'main.f'], exists);
  refuseShellExpanded([], exists);
});

test('names of C++ and Rust are suggested', () => {
  const names = [
    'shop::Order<int>::confirm',
    'shop::Order<a::b>::cancel<c::d>',
    'shop::Cart::add',
    '<core::Vec<u8>>::push',
  ].join('\n');
  const nearest = (text: string): string[] => suggest(parsePattern(text), names, 1);
  assert.deepEqual(nearest('shop::Order::confrim'), ['shop::Order<int>::confirm']);
  assert.deepEqual(nearest('shop::Order::cancle'), ['shop::Order<a::b>::cancel<c::d>']);
  assert.deepEqual(nearest('Cart::ad'), ['shop::Cart::add']);
  assert.deepEqual(nearest('core::Vec::psuh'), ['<core::Vec<u8>>::push']);
  assert.deepEqual(nearest('shop::Crat::*'), ['shop::Cart::*']);
});
