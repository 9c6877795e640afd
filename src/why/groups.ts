/** Requests of one name: all are counted, some are kept. */
import { Durations } from './durations.js';
import type { Profile } from './profile.js';
import { median } from './statistics.js';
import { Largest, Reservoir } from './reservoir.js';

/** Which requests are asked about. */
export type Criterion =
  | { kind: 'slower-than'; ns: number }
  | { kind: 'errors' }
  /** Those that are slow beside the others, if there are any. */
  | { kind: 'outliers' };

/** Of each name, slow ones and others; fewer where there are many names. */
const MOST_KEPT = 1_000;
const LEAST_KEPT = 80;
/** Of all names together. */
const KEPT = 4_000;
/** Of those that are kept the slowest besides. */
const SLOWEST = 1 / 5;
/** So many of them are enough to speak for all slow ones. */
const ENOUGH = 30;
const MAX_GROUPS = 50;

/** The requests that are asked about, and those they are compared with. */
export interface Split {
  slow: readonly Profile[];
  normal: readonly Profile[];
  /** Of all, not only of those that are kept. */
  slowCount: number;
  thresholdNs: number | null;
}

export class Group {
  /** By the program, and not after an outermost call. */
  isNamed = false;
  private readonly durations = new Durations();
  private readonly normal: Reservoir<Profile>;
  private readonly slow: Reservoir<Profile>;
  private readonly slowest: Largest<Profile>;

  constructor(
    readonly name: string,
    private readonly criterion: Criterion,
    kept: number,
  ) {
    this.normal = new Reservoir(kept);
    this.slow = new Reservoir(kept);
    this.slowest = new Largest(kept * SLOWEST, ({ durationNs }) => durationNs);
  }

  shrink(kept: number): void {
    this.normal.shrink(kept);
    this.slow.shrink(kept);
    this.slowest.shrink(kept * SLOWEST);
  }

  get count(): number {
    return this.durations.total;
  }

  add(profile: Profile): void {
    this.durations.add(profile.durationNs);
    this.isNamed ||= profile.isNamed;
    if (this.isSlow(profile)) this.slow.add(profile);
    else this.normal.add(profile);
    if (this.criterion.kind === 'outliers') this.slowest.add(profile);
  }

  split(): Split {
    const { criterion, normal, slow } = this;
    if (criterion.kind !== 'outliers') {
      const thresholdNs = criterion.kind === 'slower-than' ? criterion.ns : null;
      return { slow: slow.kept, normal: normal.kept, slowCount: slow.seen, thresholdNs };
    }
    const thresholdNs = this.durations.boundary();
    if (thresholdNs === null) {
      return { slow: [], normal: normal.kept, slowCount: 0, thresholdNs: null };
    }
    const isSlow = ({ durationNs }: Profile): boolean => durationNs > thresholdNs;
    const kept = normal.kept.filter(isSlow);
    const others = this.slowest.kept.filter((each) => isSlow(each) && !kept.includes(each));
    const usual = normal.kept.filter((each) => !isSlow(each));
    return {
      slow: evident(kept.length >= ENOUGH ? kept : [...kept, ...others], usual),
      normal: usual,
      slowCount: this.durations.above(thresholdNs),
      thresholdNs,
    };
  }

  private isSlow({ durationNs, failure }: Profile): boolean {
    if (this.criterion.kind === 'slower-than') return durationNs > this.criterion.ns;
    return this.criterion.kind === 'errors' && failure !== null;
  }
}

/** Without those that are hardly slow: any delay may have made them so. */
function evident(slow: readonly Profile[], normal: readonly Profile[]): Profile[] {
  const durations = (of: readonly Profile[]): number[] => of.map(({ durationNs }) => durationNs);
  const middle = (median(durations(slow)) + median(durations(normal))) / 2;
  return slow.filter(({ durationNs }) => durationNs >= middle);
}

export class Groups {
  readonly all = new Map<string, Group>();
  /** Of names beyond those that there is room for. */
  dropped = 0;

  constructor(private readonly criterion: Criterion) {}

  add(profile: Profile): void {
    let group = this.all.get(profile.request);
    if (!group && this.all.size >= MAX_GROUPS) return void this.dropped++;
    if (!group) {
      const kept = keptOf(this.all.size + 1);
      for (const other of this.all.values()) other.shrink(kept);
      group = new Group(profile.request, this.criterion, kept);
      this.all.set(profile.request, group);
    }
    group.add(profile);
  }
}

/** Of each, a multiple of five. */
const keptOf = (groups: number): number =>
  5 * Math.floor(Math.min(MOST_KEPT, Math.max(LEAST_KEPT, KEPT / groups)) / 5);
