/**
 * The links of one attachment to one process, or to all. Functions are attached in groups, and a
 * group that loses some of them is replaced by the rest of it: first the new links are made, then the
 * old ones go, and in between the programs know that each hit comes twice (GOVERNED_TWICE).
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
  /** One function a group: where sites are attached one by one, and can be detached so. */
  single: boolean;
}

interface Group {
  functions: Set<number>;
  /** null: taken back, or it has none. */
  entries: Link | null;
  others: Link[];
}

/** Calls that have begun have that long to end before their returns are not seen any more, in ms. */
const GRACE_MS = 10;
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
  private readonly groups: Group[] = [];
  private readonly away = new Set<number>();
  private readonly work = new WorkQueue();
  private closed = false;

  constructor(private readonly options: SiteLinksOptions) {}

  /** Returns before entries, so that no call is seen to begin whose end would be missed. */
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

  /** Its functions' calls count no more; what is open has a moment to end. */
  withdraw(functions: readonly number[]): Promise<void> {
    for (const each of functions) this.away.add(each);
    return this.work.add(async () => {
      const touched = this.groups.filter((group) =>
        functions.some((fn) => group.functions.has(fn)),
      );
      for (const group of touched) await this.replace(group);
    });
  }

  restore(index: number): Promise<void> {
    return this.work.add(async () => {
      if (!this.away.delete(index) || this.closed) return;
      await this.add([index]);
    });
  }

  /** No call is counted any more; those that are open may still end. */
  async detachEntries(): Promise<void> {
    this.closed = true;
    await this.work.add(() => Promise.all(this.groups.map(closeEntries)));
  }

  async detach(): Promise<void> {
    this.closed = true;
    await this.work.add(async () => {
      const groups = this.groups.splice(0);
      const { support } = this;
      this.support = null;
      await Promise.all([...groups.map(close), support?.detach()]);
    });
  }

  private async add(functions: readonly number[]): Promise<void> {
    if (this.closed) return;
    const present = functions.filter((each) => !this.away.has(each));
    const parts = this.options.single ? present.map((each) => [each]) : [present];
    for (const part of parts) {
      if (part.length > 0) this.groups.push(await this.open(new Set(part)));
    }
  }

  private async open(functions: Set<number>): Promise<Group> {
    const { encoded, link } = this.options;
    const group: Group = { functions, entries: null, others: [] };
    const own = (sites: readonly NumberedSite[]): NumberedSite[] =>
      sites.filter((site) => functions.has(site.function));
    try {
      const returns = own(encoded.returns);
      if (returns.length > 0) group.others.push(await link('leave', returns));
      const around = own(encoded.around);
      if (around.length > 0) group.others.push(await link('around', around));
      const entries = own(encoded.entries);
      if (entries.length > 0) group.entries = await link('enter', entries);
      return group;
    } catch (error) {
      await close(group);
      throw error;
    }
  }

  private async replace(group: Group): Promise<void> {
    const rest = new Set([...group.functions].filter((each) => !this.away.has(each)));
    if (rest.size === group.functions.size) return;
    const { encoded, onTwice } = this.options;
    const isAround = encoded.around.some((site) => group.functions.has(site.function));
    onTwice(rest, true);
    try {
      if (rest.size > 0 && !this.closed) this.groups.push(await this.open(rest));
      this.groups.splice(this.groups.indexOf(group), 1);
      const entries = closeEntries(group);
      await setTimeout(isAround ? AROUND_GRACE_MS : GRACE_MS);
      await Promise.all([entries, close(group)]);
    } finally {
      onTwice(rest, false);
    }
  }
}

async function closeEntries(group: Group): Promise<void> {
  const { entries } = group;
  group.entries = null;
  await entries?.detach();
}

async function close(group: Group): Promise<void> {
  await Promise.all([closeEntries(group), ...group.others.splice(0).map((link) => link.detach())]);
}
