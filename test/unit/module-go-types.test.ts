/** What the runtime's own type tables say, against what DWARF says of the same program. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loadNative } from '../../src/native/load.js';
import type { GoType, InterfaceTable, Module, Parameter } from '../../src/native/native.js';
import { goCommand } from '../tools/go.js';
import { missingCommands } from '../tools/require.js';

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'underspan-types-'));
after(() => rmSync(directory, { recursive: true }));

const source = `package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

type order struct {
	ID    string
	Lines []line
	total float64
	placed time.Time
}
type line struct {
	Name  string
	Count int32
}
type carried struct {
	tenant string
	context.Context
}
type service interface {
	Confirm(ctx context.Context, o *order, urgent bool) (string, error)
	weigh(a float64, b [1]line, c complex128, d [2]int) float64
}
type shop struct{ name string }

//go:noinline
func (s *shop) Confirm(ctx context.Context, o *order, urgent bool) (string, error) {
	if o.ID == "" {
		return "", fmt.Errorf("order without id")
	}
	return s.name, ctx.Err()
}

//go:noinline
func (s *shop) weigh(a float64, b [1]line, c complex128, d [2]int) float64 {
	return a + float64(b[0].Count) + real(c) + float64(d[1])
}

//go:noinline
func (l line) String() string { return l.Name }

type box[T any] struct{ held T }

//go:noinline
func (b *box[T]) Show() string { return fmt.Sprint(b.held) }

func main() {
	var s service = &shop{"corner"}
	if len(os.Args) > 1 {
		s = nil
	}
	ctx := carried{"acme", context.Background()}
	request, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
	fmt.Fprintln(io.Discard, s.(fmt.Stringer), line{}, map[string]*order{}, request, &box[int]{1})
	_, err := s.Confirm(ctx, &order{}, true)
	fmt.Println(err, s.weigh(1, [1]line{}, 1, [2]int{}), &ctx)
}
`;

const NAMES = [
  'main.order',
  '*main.order',
  'main.carried',
  'main.line',
  '[]main.line',
  'main.shop',
  'map[string]*main.order',
  'time.Duration',
  'time.Time',
  'context.Context',
  'context.valueCtx',
  'net/http.Request',
  'error',
  'string',
  'main.box[int]',
];

describe('Go types without DWARF', { skip: missingCommands(goCommand()) }, () => {
  const variants = ['stripped', 'pie-stripped'] as const;
  const modules = new Map<string, Module>();
  const open = (name: string): Module => {
    const module = modules.get(name);
    assert.ok(module);
    return module;
  };

  before(async () => {
    writeFileSync(join(directory, 'go.mod'), 'module example.com/types\n\ngo 1.21\n');
    writeFileSync(join(directory, 'main.go'), source);
    for (const [name, flags] of [
      ['plain', []],
      ['stripped', ['-ldflags=-s -w']],
      ['pie', ['-buildmode=pie']],
      ['pie-stripped', ['-buildmode=pie', '-ldflags=-s -w']],
    ] as const) {
      execFileSync(goCommand(), ['build', '-o', name, ...flags, '.'], { cwd: directory });
      modules.set(name, await native.openModule(join(directory, name)));
    }
  });
  after(() => modules.forEach((module) => module.close()));
  const twin = (variant: string): string => (variant === 'stripped' ? 'plain' : 'pie');

  for (const variant of variants) {
    test(`${variant}: types are described as DWARF describes them`, async () => {
      const known = await open(twin(variant)).describeTypes(NAMES);
      const found = await open(variant).describeTypes(NAMES);
      assert.equal(open(variant).facts.hasDwarf, false);
      NAMES.forEach((name, index) => assert.deepEqual(found[index], known[index], name));
      const order = found[0] as GoType;
      assert.deepEqual(
        order.fields.map(({ name, type }) => `${name} ${type}`),
        ['ID string', 'Lines []main.line', 'total float64', 'placed time.Time'],
      );
      assert.deepEqual(found[12]?.methods, ['Error']);
      assert.equal(found[2]?.fields[1]?.embedded, true);
      assert.deepEqual(await open(variant).describeTypes(['main.nothing']), [null]);
    });

    test(`${variant}: itabs, fields and addresses of types`, async () => {
      const tables = async (name: string): Promise<string[]> =>
        (await open(name).interfaceTables('context.Context')).map(({ type }) => type).sort();
      const stripped = await tables(variant);
      assert.deepEqual(stripped, await tables(twin(variant)));
      assert.ok(stripped.includes('*context.valueCtx') && stripped.includes('main.carried'));
      const fields = [
        { type: 'net/http.Request', field: 'ctx' },
        { type: 'main.carried', field: 'Context' },
        { type: 'main.order', field: 'placed.ext' },
        { type: 'main.order', field: 'nothing' },
      ];
      assert.deepEqual(
        await open(variant).fieldOffsets(fields),
        await open(twin(variant)).fieldOffsets(fields),
      );
      const [first] = await open(variant).interfaceTables('main.service');
      const { type, typeAddress } = first as InterfaceTable;
      assert.equal(type, '*main.shop');
      const names = await open(variant).typeNames(Float64Array.of(typeAddress ?? 0, 8));
      assert.deepEqual(names, ['*main.shop', null]);
    });

    test(`${variant}: parameters of methods`, async () => {
      const stripped = await methods(open(variant));
      const known = await methods(open(twin(variant)));
      const confirm = stripped.get('main.(*shop).Confirm');
      assert.deepEqual(
        confirm?.map(({ type, registers }) => [type, registers]),
        [
          ['*main.shop', [0]],
          ['context.Context', [1, 2]],
          ['*main.order', [3]],
          ['bool', [4]],
          ['string', [0, 1]],
          ['error', [2, 3]],
        ],
      );
      assert.equal(stripped.get('main.(*shop).weigh')?.at(-2)?.stackOffset, 0);
      // Of a generic type's method nothing says where its dictionary goes.
      assert.equal(stripped.has('main.(*box[...]).Show'), false);
      let same = 0;
      for (const [name, parameters] of stripped) {
        const places = (all: Parameter[] | undefined): unknown[] | undefined =>
          all?.map(({ type, result, registers, stackOffset }) => [
            type,
            result,
            registers,
            stackOffset,
          ]);
        assert.deepEqual(places(parameters), places(known.get(name)), name);
        same++;
      }
      assert.ok(same > 500, `only ${same} methods`);
    });
  }

  /** Parameters by function name, of those whose name says that they are a method. */
  async function methods(module: Module): Promise<Map<string, Parameter[]>> {
    const table = await module.functions();
    const found = await module.parameters(table.addresses);
    const entries = table.names.split('\n').map((name, i) => [name, found[i]] as const);
    return new Map(entries.filter((entry): entry is [string, Parameter[]] => entry[1] != null));
  }
});
