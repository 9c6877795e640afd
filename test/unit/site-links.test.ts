/** What is linked while functions are withdrawn, only counted and restored; the kernel stands in. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Link } from '../../src/native/native.js';
import type { EncodedSites, NumberedSite } from '../../src/session/encode.js';
import { SiteLinks, type SiteProgram } from '../../src/session/site-links.js';

const FUNCTIONS = Array.from({ length: 24 }, (_, index) => index + 1);
const without = (...some: number[]): number[] => FUNCTIONS.filter((each) => !some.includes(each));

const siteOf = (index: number, fn: number): NumberedSite => ({
  index,
  address: index,
  function: fn,
});

/** Each function has an entry and a return. */
const ENCODED: EncodedSites = {
  sites: Buffer.alloc(0),
  count: 2 * FUNCTIONS.length,
  entries: FUNCTIONS.map((fn) => siteOf(fn, fn)),
  returns: FUNCTIONS.map((fn) => siteOf(100 + fn, fn)),
  support: [siteOf(200, 0)],
  watch: [siteOf(201, 0), siteOf(202, 0)],
  around: [],
};

class Kernel {
  readonly open: { program: SiteProgram; functions: number[]; generation: number }[] = [];
  readonly away = new Set<number>();
  readonly counted = new Set<number>();
  readonly twice = new Set<number>();
  watching = true;
  /** How often a function's entry was linked twice at once, with the programs told, and without. */
  told = 0;
  untold = 0;
  /** … or was to take the place of one that was not older. */
  older = 0;
  fails = false;

  readonly links = new SiteLinks({
    encoded: ENCODED,
    single: false,
    isWanted: (program, index) =>
      !this.away.has(index) && !(program === 'leave' && this.counted.has(index)),
    isWatching: () => this.watching,
    onTwice: (functions, twice) => {
      for (const each of functions) {
        if (twice) this.twice.add(each);
        else this.twice.delete(each);
      }
    },
    link: (program, sites, generation) => this.link(program, sites, generation),
  });

  private link(
    program: SiteProgram,
    sites: readonly NumberedSite[],
    generation: number,
  ): Promise<Link> {
    if (this.fails && program === 'enter') return Promise.reject(new Error('no more files'));
    const functions = sites.map((site) => site.function);
    const own = { program, functions, generation };
    if (program !== 'support') {
      const shared = this.open.filter(
        (each) => each.program === program && each.functions.some((fn) => functions.includes(fn)),
      );
      if (shared.some((each) => each.generation >= generation)) this.older++;
    }
    this.open.push(own);
    for (const each of program === 'support' ? [] : functions) {
      if (this.count(program, each) < 2) continue;
      if (this.twice.has(each)) this.told++;
      else this.untold++;
    }
    const detach = (): Promise<void> => {
      this.open.splice(this.open.indexOf(own), 1);
      return Promise.resolve();
    };
    return Promise.resolve({ detach } as unknown as Link);
  }

  /** Links that have the function's sites of that program. */
  count(program: SiteProgram, fn: number): number {
    return this.open.filter((each) => each.program === program && each.functions.includes(fn))
      .length;
  }

  /** By program, what is linked. */
  linked(program: SiteProgram): number[] {
    const all = this.open.filter((each) => each.program === program);
    return all.flatMap(({ functions }) => functions).sort((a, b) => a - b);
  }
}

async function attached(): Promise<Kernel> {
  const kernel = new Kernel();
  await kernel.links.attach([FUNCTIONS]);
  assert.deepEqual(kernel.linked('enter'), FUNCTIONS);
  assert.deepEqual(kernel.linked('leave'), FUNCTIONS);
  return kernel;
}

describe('links', () => {
  test('without a function are there before those with it go, and that is told', async () => {
    const kernel = await attached();
    kernel.away.add(2);
    await kernel.links.reconcile([2]);
    assert.deepEqual(kernel.linked('enter'), without(2));
    assert.deepEqual(kernel.linked('leave'), without(2));
    assert.equal(kernel.told, 2 * without(2).length);
    assert.equal(kernel.untold, 0);
    assert.equal(kernel.twice.size, 0);
    kernel.away.delete(2);
    await kernel.links.reconcile([2]);
    assert.deepEqual(kernel.linked('enter'), FUNCTIONS);
    assert.deepEqual(kernel.linked('leave'), FUNCTIONS);
  });

  test('at returns go where calls are only counted, those at entries stay as they are', async () => {
    const kernel = await attached();
    const before = kernel.open.find(({ program }) => program === 'enter');
    kernel.counted.add(2);
    await kernel.links.reconcile([2]);
    assert.ok(before && kernel.open.includes(before));
    assert.deepEqual(kernel.linked('leave'), without(2));
    kernel.away.add(1);
    await kernel.links.reconcile([1]);
    assert.deepEqual(kernel.linked('enter'), without(1));
    kernel.counted.delete(2);
    await kernel.links.reconcile([2]);
    assert.deepEqual(kernel.linked('leave'), without(1));
    assert.equal(kernel.untold, 0);
  });

  test('that take the place of others are of a later generation', async () => {
    const kernel = await attached();
    for (const each of FUNCTIONS) {
      kernel.away.add(each);
      await kernel.links.reconcile([each]);
      kernel.away.delete(each);
      await kernel.links.reconcile([each]);
    }
    assert.equal(kernel.older, 0);
    assert.ok(kernel.told > 0);
  });

  test('are few, however many functions come back one by one', async () => {
    const kernel = await attached();
    for (const each of FUNCTIONS) kernel.away.add(each);
    await kernel.links.reconcile(FUNCTIONS);
    assert.deepEqual(kernel.linked('enter'), []);
    for (const [index, each] of FUNCTIONS.entries()) {
      kernel.away.delete(each);
      await kernel.links.reconcile([each]);
      assert.deepEqual(kernel.linked('enter'), FUNCTIONS.slice(0, index + 1));
      const links = kernel.open.filter(({ program }) => program === 'enter').length;
      assert.ok(links <= 8, `${links} links`);
    }
    assert.equal(kernel.untold, 0);
    assert.equal(kernel.older, 0);
  });

  test('by which it is seen what calls wait for come and go alone', async () => {
    const kernel = await attached();
    const sites = (): number[] =>
      kernel.open
        .filter(({ program }) => program === 'support')
        .map((each) => each.functions.length);
    assert.deepEqual(sites(), [1, 2]);
    kernel.watching = false;
    await kernel.links.rewatch();
    assert.deepEqual(sites(), [1]);
    assert.deepEqual(kernel.linked('enter'), FUNCTIONS);
    kernel.watching = true;
    await Promise.all([kernel.links.rewatch(), kernel.links.rewatch()]);
    assert.deepEqual(sites(), [1, 2]);
    await kernel.links.detach();
    await kernel.links.rewatch();
    assert.deepEqual(kernel.open, []);
  });

  test('stay as they were where new ones cannot be made', async () => {
    const kernel = await attached();
    const before = [...kernel.open];
    kernel.away.add(2);
    kernel.fails = true;
    await assert.rejects(kernel.links.reconcile([2]), /no more files/);
    assert.deepEqual(kernel.open, before);
    assert.equal(kernel.twice.size, 0);
    kernel.fails = false;
    await kernel.links.reconcile([2]);
    assert.deepEqual(kernel.linked('enter'), without(2));
  });

  test('are all gone in the end, whatever was asked for meanwhile', async () => {
    const kernel = await attached();
    kernel.away.add(3);
    const replaced = kernel.links.reconcile([3]);
    await kernel.links.detach();
    await replaced;
    kernel.away.delete(3);
    await kernel.links.reconcile([3]);
    assert.deepEqual(kernel.open, []);
  });
});
