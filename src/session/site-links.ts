/**
 * The links of one attachment to one process, or to all. A link has the sites of many functions, and
 * one that is to lose some of them is replaced by the rest of it: first the new link is made, then the
 * old one goes, and in between the programs know that each hit comes twice (GOVERNED_TWICE).
 */
import { setTimeout } from 'node:timers/promises';
import type { Link } from '../native/native.js';
import { COOKIE_GENERATION_BITS } from '../spans/records.generated.js';
import type { EncodedSites, NumberedSite } from './encode.js';
import { WorkQueue } from './work-queue.js';

export type SiteProgram = 'support' | 'leave' | 'around' | 'enter';

export interface SiteLinksOptions {
  encoded: EncodedSites;
  /** `generation`: of a link that takes another's place it is ahead, see COOKIE_GENERATION_BITS. */
  link: (program: SiteProgram, sites: readonly NumberedSite[], generation: number) => Promise<Link>;
  /** Which functions' sites of which program are to be linked. It may change: see reconcile(). */
  isWanted: (program: FunctionProgram, index: number) => boolean;
  /** What calls wait for is to be looked at. It may change: see rewatch(). */
  isWatching: () => boolean;
  /** Each hit of these functions is seen twice now, or no more. */
  onTwice: (functions: Iterable<number>, twice: boolean) => void;
  /** One function a link: where sites are attached one by one, and can be detached so. */
  single: boolean;
}

/** Of one program, at the sites of some functions. */
interface Group {
  program: FunctionProgram;
  functions: ReadonlySet<number>;
  link: Link;
}

interface Replacement {
  old: readonly Group[];
  kept: readonly Group[];
  made: Group[];
  generation: number;
}

/** One count for all: by a thread's number, which others had before, nothing newer is remembered. */
let generations = 0;
const nextGeneration = (): number =>
  (generations = (generations + 1) % 2 ** COOKIE_GENERATION_BITS);

/** Returns before entries, so that no call is seen to begin whose end would be missed. */
const PROGRAMS = ['leave', 'around', 'enter'] as const;
export type FunctionProgram = (typeof PROGRAMS)[number];

/** Calls that have begun have that long to end before their returns are not seen any more, in ms. */
export const GRACE_MS = 5;
/** The kernel forgets calls of a session probe that is closed while they are open. */
const AROUND_GRACE_MS = 100;
/** Functions of the first wave, and how many times more each next one has. */
const FIRST_WAVE = 256;
/** Of those that were too dear before. */
const FIRST_HOT_WAVE = 16;
const GROWTH = 8;
/**
 * Links of each program; the kernel takes its time over each that is closed. More where calls that are
 * open for long are lost with their link.
 */
const MOST_LINKS: Record<FunctionProgram, number> = { leave: 8, around: 64, enter: 8 };
/** Between waves, so that the governor sees what the last one costs, in ms. */
const WAVE_MS = 30;

/** Functions in the order in which they are attached. `hot`: those that were too dear before. */
export function wavesOf(
  functions: readonly number[],
  hot: ReadonlySet<number> = new Set(),
): number[][] {
  const others = functions.filter((each) => !hot.has(each));
  const last = functions.filter((each) => hot.has(each));
  return [...waves(others, FIRST_WAVE), ...waves(last, FIRST_HOT_WAVE)];
}

function waves(functions: readonly number[], first: number): number[][] {
  const found: number[][] = [];
  for (let at = 0, size = first; at < functions.length; at += size, size *= GROWTH) {
    found.push(functions.slice(at, at + size));
  }
  return found;
}

export class SiteLinks {
  private support: Link | null = null;
  private watch: Link | null = null;
  private groups: Group[] = [];
  private readonly sites: Record<FunctionProgram, Map<number, NumberedSite[]>>;
  private readonly work = new WorkQueue();
  private closed = false;

  constructor(private readonly options: SiteLinksOptions) {
    const { returns, around, entries } = options.encoded;
    this.sites = {
      leave: byFunction(returns),
      around: byFunction(around),
      enter: byFunction(entries),
    };
  }

  async attach(waves: readonly (readonly number[])[]): Promise<void> {
    const { encoded, link } = this.options;
    try {
      await this.work.add(async () => {
        if (this.closed || encoded.support.length === 0) return;
        this.support = await link('support', encoded.support, 0);
      });
      await this.rewatch();
      for (const [index, functions] of waves.entries()) {
        if (index > 0) await setTimeout(WAVE_MS);
        await this.reconcile(functions);
      }
    } catch (error) {
      await this.detach();
      throw error;
    }
  }

  /** Sees to it that of these functions what is wanted is linked, and nothing else. */
  reconcile(functions: readonly number[]): Promise<void> {
    return this.work.add(async () => {
      if (!this.closed) await this.replace(new Set(functions));
    });
  }

  /** Sees to it that what calls wait for is looked at if that is wanted, and else not. */
  rewatch(): Promise<void> {
    return this.work.add(async () => {
      const { encoded, link, isWatching } = this.options;
      const wanted = !this.closed && isWatching() && encoded.watch.length > 0;
      if (wanted) this.watch ??= await link('support', encoded.watch, 0);
      else await this.unwatch();
    });
  }

  private async unwatch(): Promise<void> {
    const { watch } = this;
    this.watch = null;
    await watch?.detach();
  }

  async detach(): Promise<void> {
    this.closed = true;
    await this.work.add(async () => {
      const { support, groups } = this;
      this.support = null;
      this.groups = [];
      await Promise.all([closeAll(groups), support?.detach(), this.unwatch()]);
    });
  }

  private async replace(functions: ReadonlySet<number>): Promise<void> {
    const { onTwice } = this.options;
    const wrong = this.groups.filter((group) => has(group, functions) && !this.isRight(group));
    const old = [...wrong, ...PROGRAMS.flatMap((program) => this.tooSmall(program, wrong))];
    const kept = this.groups.filter((group) => !old.includes(group));
    const made: Group[] = [];
    const twice = old.flatMap((group) =>
      [...group.functions].filter((each) => this.options.isWanted(group.program, each)),
    );
    const generation = nextGeneration();
    onTwice(twice, true);
    try {
      for (const program of PROGRAMS) {
        await this.open(program, functions, { old, kept, made, generation });
      }
      this.groups = [...kept, ...made];
      const [entries, others] = [old.filter(isEntry), old.filter((group) => !isEntry(group))];
      const closing = closeAll(entries);
      const isAround = old.some(({ program }) => program === 'around');
      if (old.length > 0) await setTimeout(isAround ? AROUND_GRACE_MS : GRACE_MS);
      await Promise.all([closing, closeAll(others)]);
    } catch (error) {
      // As it was: what is there is neither missed nor seen twice.
      if (this.groups.some((group) => old.includes(group))) await closeAll(made);
      throw error;
    } finally {
      onTwice(twice, false);
    }
  }

  /** Functions come back one by one, each with a link; when there are many links, some become one. */
  private tooSmall(program: FunctionProgram, besides: readonly Group[]): Group[] {
    if (this.options.single) return [];
    const others = this.groups.filter(
      (each) => each.program === program && !besides.includes(each),
    );
    const most = MOST_LINKS[program];
    if (others.length < most) return [];
    const bySize = others.sort((a, b) => a.functions.size - b.functions.size);
    return bySize.slice(0, most / 2);
  }

  /** Links the program where it is wanted and not there: at these functions, and those of old groups. */
  private async open(
    program: FunctionProgram,
    functions: ReadonlySet<number>,
    { old, kept, made, generation }: Replacement,
  ): Promise<void> {
    const { isWanted, link, single } = this.options;
    const sites = this.sites[program];
    if (sites.size === 0) return;
    const there = new Set<number>();
    for (const group of kept) {
      if (group.program === program) for (const each of group.functions) there.add(each);
    }
    const touched = new Set(functions);
    for (const group of old) {
      if (group.program === program) for (const each of group.functions) touched.add(each);
    }
    const missing = [...touched].filter(
      (each) => sites.has(each) && !there.has(each) && isWanted(program, each),
    );
    for (const part of single ? missing.map((each) => [each]) : [missing]) {
      if (part.length === 0) continue;
      const all = part.flatMap((each) => sites.get(each) ?? []);
      made.push({
        program,
        functions: new Set(part),
        link: await link(program, all, generation),
      });
    }
  }

  private isRight({ program, functions }: Group): boolean {
    return [...functions].every((each) => this.options.isWanted(program, each));
  }
}

function byFunction(sites: readonly NumberedSite[]): Map<number, NumberedSite[]> {
  const found = new Map<number, NumberedSite[]>();
  for (const site of sites) {
    const known = found.get(site.function);
    if (known) known.push(site);
    else found.set(site.function, [site]);
  }
  return found;
}

function has(group: Group, functions: ReadonlySet<number>): boolean {
  for (const each of functions) if (group.functions.has(each)) return true;
  return false;
}

const isEntry = ({ program }: Group): boolean => program === 'enter';

const closeAll = (groups: readonly Group[]): Promise<unknown> =>
  Promise.all(groups.map(({ link }) => link.detach()));
