/**
 * The links of one attachment to one process, or to all. A link has the sites of many functions, and
 * one that is to lose some of them is replaced by the rest of it: first the new link is made, then the
 * old one goes, and in between the programs know that each hit comes twice (GOVERNED_TWICE).
 */
import { setTimeout } from 'node:timers/promises';
import type { Link } from '../native/native.js';
import type { EncodedSites, NumberedSite } from './encode.js';
import { WorkQueue } from './work-queue.js';

export type SiteProgram = 'support' | 'leave' | 'around' | 'enter';

export interface SiteLinksOptions {
  encoded: EncodedSites;
  link: (program: SiteProgram, sites: readonly NumberedSite[]) => Promise<Link>;
  /** Each hit of these functions is seen twice now, or no more. */
  onTwice: (functions: Iterable<number>, twice: boolean) => void;
  /** One function a link: where sites are attached one by one, and can be detached so. */
  single: boolean;
}

/** Of one program, at the sites of some functions. */
interface Group {
  program: FunctionProgram;
  functions: Set<number>;
  link: Link;
}

/** Returns before entries, so that no call is seen to begin whose end would be missed. */
const PROGRAMS = ['leave', 'around', 'enter'] as const;
type FunctionProgram = (typeof PROGRAMS)[number];

/** Calls that have begun have that long to end before their returns are not seen any more, in ms. */
const GRACE_MS = 5;
/** The kernel forgets calls of a session probe that is closed while they are open. */
const AROUND_GRACE_MS = 100;
/** Functions of the first wave, and how many times more each next one has. */
const FIRST_WAVE = 256;
const GROWTH = 8;
/** Between waves, so that the governor sees what the last one costs, in ms. */
const WAVE_MS = 30;

/** Functions in the order in which they are attached. */
export function wavesOf(functions: readonly number[]): number[][] {
  const waves: number[][] = [];
  for (let at = 0, size = FIRST_WAVE; at < functions.length; at += size, size *= GROWTH) {
    waves.push(functions.slice(at, at + size));
  }
  return waves;
}

export class SiteLinks {
  private support: Link | null = null;
  private groups: Group[] = [];
  private readonly away = new Set<number>();
  /** Their returns are away. */
  private readonly counted = new Set<number>();
  private readonly work = new WorkQueue();
  private closed = false;

  constructor(private readonly options: SiteLinksOptions) {}

  async attach(waves: readonly (readonly number[])[]): Promise<void> {
    const { encoded, link } = this.options;
    try {
      if (encoded.support.length > 0) this.support = await link('support', encoded.support);
      for (const [index, functions] of waves.entries()) {
        if (index > 0) await setTimeout(WAVE_MS);
        await this.work.add(() => this.add(functions));
      }
    } catch (error) {
      await this.detach();
      throw error;
    }
  }

  /** Their calls count no more; what is open has a moment to end. */
  withdraw(functions: readonly number[]): Promise<void> {
    for (const each of functions) {
      this.away.add(each);
      this.counted.delete(each);
    }
    return this.work.add(() => this.replace(functions));
  }

  /** Their returns are seen no more; what is open has a moment to end. */
  count(functions: readonly number[]): Promise<void> {
    for (const each of functions) this.counted.add(each);
    return this.work.add(async () => {
      await setTimeout(GRACE_MS);
      await this.replace(functions);
    });
  }

  restore(index: number): Promise<void> {
    return this.work.add(async () => {
      if (this.closed) return;
      if (this.away.delete(index)) await this.add([index]);
      else if (this.counted.delete(index)) await this.open('leave', new Set([index]));
    });
  }

  async detach(): Promise<void> {
    this.closed = true;
    await this.work.add(async () => {
      const { support } = this;
      this.support = null;
      await Promise.all([this.take(() => true), support?.detach()]);
    });
  }

  private async add(functions: readonly number[]): Promise<void> {
    if (this.closed) return;
    const present = functions.filter((each) => !this.away.has(each));
    const parts = this.options.single ? present.map((each) => [each]) : [present];
    for (const part of parts) {
      for (const program of PROGRAMS) await this.open(program, new Set(part));
    }
  }

  /** Nothing where they have no such sites. */
  private async open(program: FunctionProgram, functions: Set<number>): Promise<void> {
    const { encoded, link } = this.options;
    const all = { leave: encoded.returns, around: encoded.around, enter: encoded.entries };
    const sites = all[program].filter((site) => functions.has(site.function));
    if (sites.length === 0) return;
    this.groups.push({ program, functions, link: await link(program, sites) });
  }

  /** Whether the function's sites of that program are to be linked. */
  private isWanted(program: FunctionProgram, index: number): boolean {
    return !this.away.has(index) && !(program === 'leave' && this.counted.has(index));
  }

  /** The links that have some of these functions, by such as have what is wanted. */
  private async replace(functions: readonly number[]): Promise<void> {
    const old = this.groups
      .filter((group) => functions.some((each) => group.functions.has(each)))
      .map((group) => {
        const wanted = [...group.functions].filter((each) => this.isWanted(group.program, each));
        return { group, rest: new Set(wanted) };
      })
      .filter(({ group, rest }) => rest.size < group.functions.size);
    const twice = new Set(old.flatMap(({ rest }) => [...rest]));
    this.options.onTwice(twice, true);
    try {
      for (const program of PROGRAMS) {
        for (const { group, rest } of old) {
          if (group.program === program && !this.closed) await this.open(program, rest);
        }
      }
      const gone = new Set(old.map(({ group }) => group));
      const isGone = (...programs: FunctionProgram[]): ((group: Group) => boolean) => {
        return (group) => gone.has(group) && programs.includes(group.program);
      };
      const entries = this.take(isGone('enter'));
      const isAround = old.some(({ group }) => group.program === 'around');
      await setTimeout(isAround ? AROUND_GRACE_MS : GRACE_MS);
      await Promise.all([entries, this.take(isGone('leave', 'around'))]);
    } finally {
      this.options.onTwice(twice, false);
    }
  }

  private async take(which: (group: Group) => boolean): Promise<void> {
    const taken = this.groups.filter(which);
    this.groups = this.groups.filter((group) => !which(group));
    await Promise.all(taken.map(({ link }) => link.detach()));
  }
}
