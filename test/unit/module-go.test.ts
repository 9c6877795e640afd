import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { loadNative } from '../../src/native/load.js';
import { InstructionFlag, InstructionKind, type Parameter } from '../../src/native/native.js';
import { goCommand } from '../tools/go.js';
import { decode, functionNamed, type Row, rows } from '../tools/modules.js';
import { missingCommands } from '../tools/require.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-module-'));
after(() => {
  rmSync(directory, { recursive: true });
});

const file = (name: string): string => join(directory, name);
const run = (command: string, args: string[]): string =>
  execFileSync(command, args, { cwd: directory, encoding: 'utf8' });

describe('a Go program', { skip: missingCommands(goCommand()) }, () => {
  const source = `package main

import (
	"context"
	"errors"
	"net/url"
	"os"
)

type small struct {
	one [1]string
	_   int32
	y   float32
}
type empty struct{}
type box struct {
	name  string
	inner struct{ first, second int }
}

//go:noinline
func plain(ctx context.Context, r *url.URL, s string, xs []int) (int, error) {
	return len(s) + len(xs), ctx.Err()
}

//go:noinline
func blank(_ int, ctx context.Context, _ float64) error { return ctx.Err() }

//go:noinline
func (*box) method(ctx context.Context) error { return ctx.Err() }

//go:noinline
func mixed(a small, b [2]int, c complex128, z empty, d uint8, f func(int) int) (small, int) {
	return a, f(int(d)) + b[1]
}

//go:noinline
func many(a, b, c, d, e, f, g, h int, ctx context.Context, k int) error { return ctx.Err() }

//go:noinline
func generic[K comparable](ctx context.Context, k K) (K, error) { return k, ctx.Err() }

// Inlined where it is called, and has code because its value is taken.
func both(_ int, ctx context.Context) error { return ctx.Err() }
func inlined(b *box) int { return b.inner.second + len(os.Args) }

func main() {
	ctx := context.WithValue(context.Background(), box{}, 1)
	f := both
	if len(os.Args) > 1 { f = nil }
	_, err := plain(ctx, &url.URL{}, "a", nil)
	_, a := mixed(small{}, [2]int{}, 1, empty{}, 1, func(a int) int { return a + len(os.Args) })
	_, err2 := generic(ctx, a)
	_, err3 := generic(ctx, "a")
	err = errors.Join(err, err2, err3, blank(1, ctx, 2), (&box{}).method(ctx), f(1, ctx), both(2, ctx))
	err = errors.Join(err, many(1, 2, 3, 4, 5, 6, 7, 8, ctx, a + inlined(&box{})))
	if err != nil { panic(err) }
}
`;
  const builds: Record<string, string[]> = {
    plain: [],
    pie: ['-buildmode=pie'],
    dwarf4: ['-ldflags=-compressdwarf=false'],
    'stripped-plain': ['-ldflags=-s -w'],
    'stripped-pie': ['-buildmode=pie', '-ldflags=-s -w'],
  };
  before(() => {
    writeFileSync(file('go.mod'), 'module example.com/boxes\ngo 1.21\n');
    writeFileSync(file('main.go'), source);
    for (const [name, flags] of Object.entries(builds)) {
      const experiment = name === 'dwarf4' ? { GOEXPERIMENT: 'nodwarf5' } : {};
      execFileSync(goCommand(), ['build', '-buildvcs=false', ...flags, '-o', name, '.'], {
        cwd: directory,
        env: { ...process.env, CGO_ENABLED: '0', ...experiment },
      });
    }
    // As some packers leave it: no section headers at all.
    for (const name of ['plain', 'pie']) {
      const content = readFileSync(file(name));
      content.fill(0, 40, 48).fill(0, 60, 64);
      writeFileSync(file(`headless-${name}`), content);
    }
  });

  const place = ({ type, result, registers, stackOffset }: Parameter): unknown[] =>
    result ? [type, 'result', registers] : [type, stackOffset ?? registers];
  const expected: Record<string, unknown[][]> = {
    'main.plain': [
      ['context.Context', [0, 1]],
      ['*net/url.URL', [2]],
      ['string', [3, 4]],
      ['[]int', [5, 6, 7]],
      ['int', 'result', [0]],
      ['error', 'result', [1, 2]],
    ],
    'main.blank': [
      ['int', [0]],
      ['context.Context', [1, 2]],
      ['float64', [100]],
      ['error', 'result', [0, 1]],
    ],
    'main.(*box).method': [
      ['*main.box', [0]],
      ['context.Context', [1, 2]],
      ['error', 'result', [0, 1]],
    ],
    'main.mixed': [
      ['main.small', [0, 1, 2, 100]],
      ['[2]int', 0],
      ['complex128', [101, 102]],
      ['main.empty', 16],
      ['uint8', [3]],
      ['func(int) int', [4]],
      ['main.small', 'result', [0, 1, 2, 100]],
      ['int', 'result', [3]],
    ],
    'main.many': [
      ...Array.from({ length: 8 }, (_, i) => ['int', [i]]),
      ['context.Context', 0],
      ['int', [8]],
      ['error', 'result', [0, 1]],
    ],
    // The dictionary comes first.
    'main.generic[go.shape.string]': [
      ['context.Context', [1, 2]],
      ['go.shape.string', [3, 4]],
      ['go.shape.string', 'result', [0, 1]],
      ['error', 'result', [2, 3]],
    ],
  };

  for (const name of ['plain', 'pie', 'dwarf4']) {
    test(`${name}: facts, symbols and DWARF`, async () => {
      const module = await native.openModule(file(name));
      const { facts } = module;
      assert.equal(facts.positionIndependent, name === 'pie');
      assert.deepEqual([facts.hasSymbols, facts.hasDwarf], [true, true]);
      const version = /go1\S+/.exec(run(goCommand(), ['version']))?.[0];
      const { go } = facts;
      assert.ok(go?.version?.startsWith(version ?? 'no version'));
      assert.equal(go?.mainModule, 'example.com/boxes');
      assert.deepEqual(Object.keys(go?.modules ?? {}), ['example.com/boxes']);

      const table = await module.functions();
      assert.equal(table.source, 'symtab');
      const told = run(goCommand(), ['tool', 'nm', '-size', '-type', file(name)])
        .split('\n')
        .map((line) => /^ *([0-9a-f]+) +([1-9]\d*) [Tt] (.*)$/.exec(line))
        .filter((match) => match !== null)
        .map(([, address, size, text]) => [
          parseInt(address ?? '', 16),
          size,
          text?.replace(/\.abi0$/, ''),
        ])
        .map((parts) => parts.join(' '));
      const known = new Set(
        rows(table).map((row) => `${String(row.address)} ${String(row.size)} ${row.name}`),
      );
      assert.deepEqual(
        told.filter((line) => !known.has(line)),
        [],
      );
      assert.equal(known.size, told.length);

      for (const [text, places] of Object.entries(expected)) {
        const { address } = await functionNamed(module, text);
        const [parameters] = await module.parameters(Float64Array.of(address));
        assert.deepEqual(parameters?.map(place), places, text);
      }
      const both = await functionNamed(module, 'main.both');
      const [parameters] = await module.parameters(Float64Array.of(both.address));
      const context = parameters?.find(({ type }) => type === 'context.Context');
      assert.deepEqual(context?.registers, [1, 2]);

      const inlined = await module.inlined();
      const found = inlined.find((one) => one.name === 'main.inlined');
      assert.deepEqual(found?.into, ['main.main']);
      assert.equal(inlined.find((one) => one.name === 'main.both')?.hasCode, true);

      const offsets = await module.fieldOffsets([
        { type: 'main.box', field: 'inner.second' },
        { type: 'context.valueCtx', field: 'key' },
        { type: 'main.box', field: 'outer' },
      ]);
      assert.deepEqual(offsets, [24, 16, null]);
      module.close();
    });

    test(`${name}: runtime types and itabs agree`, async () => {
      const module = await native.openModule(file(name));
      const tables = await module.interfaceTables('context.Context');
      const value = tables.find(({ type }) => type === '*context.valueCtx');
      assert.ok(value);
      const types = await module.runtimeTypes(['*context.valueCtx', 'context.Context', 'no.such']);
      assert.deepEqual(types, [value.typeAddress, value.interfaceAddress, null]);
      assert.ok(types[0]);
      assert.deepEqual(await module.interfaceTables('no.such'), []);
      module.close();
    });
  }

  for (const [stripped, whole] of [
    ['stripped-plain', 'plain'],
    ['stripped-pie', 'pie'],
    ['headless-plain', 'plain'],
    ['headless-pie', 'pie'],
  ] as const) {
    test(`${stripped}: its pclntab says what ${whole}'s symbols say`, async () => {
      const module = await native.openModule(file(stripped));
      const other = await native.openModule(file(whole));
      assert.equal(module.facts.go?.mainModule, 'example.com/boxes');
      assert.equal(module.facts.hasSymbols, false);
      const table = await module.functions();
      assert.equal(table.source, 'pclntab');
      // The table writes no type arguments, and does not tell apart the two calling conventions.
      const bare = (name: string): string => name.replace(/\[.*\]/, '[...]');
      const line = (row: Row): string => `${bare(row.name)} ${String(row.address)}`;
      const symbols = rows(await other.functions());
      const known = new Map(symbols.map((row) => [line(row), row.size]));
      const wrong = rows(table).filter((row) => known.get(line(row)) !== row.size);
      // The linker renames a few generated functions; assembly may end in padding of its own.
      assert.ok(wrong.length < table.addresses.length / 100, JSON.stringify(wrong.slice(0, 5)));
      assert.deepEqual(
        wrong.filter(({ name }) => name.startsWith('main.')),
        [],
      );
      assert.ok(table.addresses.length > symbols.length * 0.98);

      const { address } = await functionNamed(module, 'main.blank');
      const [at] = await module.lines(Float64Array.of(address));
      assert.deepEqual(at, { file: file('main.go'), line: 27 });
      assert.deepEqual(at, (await other.lines(Float64Array.of(address)))[0]);
      const tables = await module.interfaceTables('context.Context');
      assert.ok(tables.length > 0);
      module.close();
      other.close();
    });
  }

  test('every function of Go decodes, but for the one that holds data', async () => {
    const module = await native.openModule(file('plain'));
    const table = await module.functions();
    const decoded = decode(await module.instructions(table.addresses, table.sizes));
    const names = table.names.split('\n');
    const undecodable = decoded.filter(({ kind }) => kind === InstructionKind.UNDECODABLE);
    const known = /^crypto\/internal\/boring\/sig\./;
    assert.deepEqual(
      undecodable.map((record) => names[record.function] ?? '').filter((name) => !known.test(name)),
      [],
    );
    const check = decoded.findIndex(
      ({ function: index, kind }) =>
        names[index] === 'main.plain' && kind === InstructionKind.STACK_CHECK,
    );
    const [jump, push] = decoded.slice(check + 1, check + 3);
    assert.ok((jump?.flags ?? 0) & InstructionFlag.BELOW_EQUAL);
    assert.ok((push?.flags ?? 0) & InstructionFlag.FRAME_PUSH);
    module.close();
  });
});
