/** What is linked while functions are withdrawn, only counted and restored; the kernel stands in. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Link } from '../../src/native/native.js';
import type { EncodedSites, NumberedSite } from '../../src/session/encode.js';
import { SiteLinks, type SiteProgram } from '../../src/session/site-links.js';

const FUNCTIONS = [1, 2, 3];

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
  returns: FUNCTIONS.map((fn) => siteOf(10 + fn, fn)),
  support: [siteOf(20, 0)],
  watch: [siteOf(21, 0), siteOf(22, 0)],
  around: [],
};

class Kernel {
  readonly open: { program: SiteProgram; functions: number[] }[] = [];
  readonly away = new Set<number>();
  readonly counted = new Set<number>();
  readonly apart = new Set<number>();
  readonly twice = new Set<number>();
  watching = true;
  /** How often a function's entry was linked twice at once, with the programs told, and without. */
  told = 0;
  untold = 0;
  fails = false;

  readonly links = new SiteLinks({
    encoded: ENCODED,
    single: false,
    isWanted: (program, index) =>
      !this.away.has(index) && !(program === 'leave' && this.counted.has(index)),
    isApart: (index) => this.apart.has(index),
    isWatching: () => this.watching,
    onTwice: (functions, twice) => {
      for (const each of functions) {
        if (twice) this.twice.add(each);
        else this.twice.delete(each);
      }
    },
    link: (program, sites) => this.link(program, sites),
  });

  private link(program: SiteProgram, sites: readonly NumberedSite[]): Promise<Link> {
    if (this.fails && program === 'enter') return Promise.reject(new Error('no more files'));
    const functions = sites.map((site) => site.function);
    const own = { program, functions };
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
    return all.flatMap(({ functions }) => functions).sort();
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
    assert.deepEqual(kernel.linked('enter'), [1, 3]);
    assert.deepEqual(kernel.linked('leave'), [1, 3]);
    assert.equal(kernel.told, 4);
    assert.equal(kernel.untold, 0);
    assert.equal(kernel.twice.size, 0);
    kernel.away.delete(2);
    await kernel.links.reconcile([2]);
    assert.deepEqual(kernel.linked('enter'), FUNCTIONS);
    assert.deepEqual(kernel.linked('leave'), FUNCTIONS);
  });

  test('of what is only counted are never there twice', async () => {
    const kernel = await attached();
    kernel.apart.add(2);
    await kernel.links.reconcile([2]);
    kernel.counted.add(2);
    await kernel.links.reconcile([2]);
    assert.deepEqual(kernel.linked('enter'), FUNCTIONS);
    assert.deepEqual(kernel.linked('leave'), [1, 3]);
    // Another one goes, whose entries had a link in common with it.
    const before = kernel.open.find((each) => each.program === 'enter' && each.functions[0] === 2);
    kernel.away.add(1);
    await kernel.links.reconcile([1]);
    assert.ok(before && kernel.open.includes(before));
    assert.deepEqual(kernel.linked('enter'), [2, 3]);
    kernel.counted.delete(2);
    await kernel.links.reconcile([2]);
    assert.deepEqual(kernel.linked('leave'), [2, 3]);
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
    assert.deepEqual(kernel.linked('enter'), [1, 3]);
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
