/** Spans in, one answer out: what made the slow requests slow. */
import { Collector, type CollectorOptions } from './collector.js';
import type { FunctionDifference, PathStep } from './compare.js';
import { type Criterion, type Group, Groups } from './groups.js';
import type { Profile, Step } from './profile.js';
import type { ObservedCall, ObservedProgramSpan } from './spans.js';
import { median } from './statistics.js';
import { judge, type Judged, type Nothing, type Suspect, type Verdict } from './verdict.js';

export interface WhyOptions extends Omit<CollectorOptions, 'onProfile'> {
  criterion: Criterion;
  /** Which requests, by the names of their spans; all if there is none. */
  isWanted?: (request: string) => boolean;
}

export interface WhyReport {
  criterion: Criterion;
  /** The one that the verdict is about. */
  request: string;
  requests: number;
  slow: number;
  /** There is no normal one: what is said of differences is said of all their time. */
  alone: boolean;
  /** From which duration on a request is slow; null: none is, or errors are asked about. */
  thresholdNs: number | null;
  slowMedianNs: number;
  normalMedianNs: number;
  verdict: Verdict | null;
  /** Why nobody is blamed; null: somebody is. */
  nothing: Nothing | null;
  suspect: Suspect | null;
  functions: FunctionDifference[];
  path: PathStep[];
  others: { request: string; requests: number; slow: number; verdict: Verdict | null }[];
  /** Requests that were not seen whole, and spans that found no room. */
  incomplete: number;
  dropped: number;
}

/** Differences that are of no interest to anybody. */
const MAX_FUNCTIONS = 200;

export class Why {
  private readonly groups: Groups;
  private readonly collector: Collector;
  private incomplete = 0;

  constructor(private readonly options: WhyOptions) {
    this.groups = new Groups(options.criterion);
    this.collector = new Collector({ ...options, onProfile: (profile) => this.add(profile) });
  }

  calls(batch: readonly ObservedCall[]): void {
    this.collector.calls(batch);
  }

  programSpans(batch: readonly ObservedProgramSpan[]): void {
    this.collector.programSpans(batch);
  }

  /** No more spans come. */
  report(): WhyReport {
    this.collector.finish();
    return this.judged();
  }

  /** Of requests that are whole; others may come. */
  soFar(): WhyReport {
    this.collector.settle();
    return this.judged();
  }

  private judged(): WhyReport {
    const judged = [...this.groups.all.values()].map((group) => {
      const split = group.split();
      return { group, split, ...judge(split, this.options.criterion) };
    });
    judged.sort(compareGroups);
    const [first] = judged;
    const { criterion } = this.options;
    return {
      criterion,
      request: first?.group.name ?? '',
      requests: first?.group.count ?? 0,
      slow: first?.split.slowCount ?? 0,
      alone: first !== undefined && first.split.slow.length > 0 && first.split.normal.length === 0,
      thresholdNs: first?.split.thresholdNs ?? null,
      slowMedianNs: medianOf(first?.split.slow),
      normalMedianNs: medianOf(first?.split.normal),
      verdict: first?.verdict ?? null,
      nothing: first ? first.nothing : 'few',
      suspect: first?.suspect ?? null,
      functions: first?.comparison.functions.slice(0, MAX_FUNCTIONS) ?? [],
      path: first ? pathOf(first) : [],
      others: judged.slice(1).map(({ group, split, verdict }) => ({
        request: group.name,
        requests: group.count,
        slow: split.slowCount,
        verdict,
      })),
      incomplete: this.incomplete,
      dropped: this.collector.dropped + this.groups.dropped,
    };
  }

  private add(profile: Profile): void {
    if (this.options.isWanted?.(profile.request) === false) return;
    // What is missing would look as if others had been waited for.
    if (profile.incomplete) this.incomplete++;
    else this.groups.add(profile);
  }
}

interface JudgedGroup extends Judged {
  group: Group;
  split: ReturnType<Group['split']>;
}

/** Those with a verdict come first, and of them those on which most time is lost. */
function compareGroups(a: JudgedGroup, b: JudgedGroup): number {
  return (
    Number(b.verdict !== null) - Number(a.verdict !== null) ||
    // A call around the program's span is the same request, and says less of it.
    Number(b.group.isNamed) - Number(a.group.isNamed) ||
    lossOf(b) - lossOf(a) ||
    b.group.count - a.group.count
  );
}

function lossOf({ verdict, split, comparison }: JudgedGroup): number {
  if (!verdict) return 0;
  return split.slowCount * (verdict.reason === 'error' ? 1 : Math.max(0, comparison.differenceNs));
}

function pathOf({ comparison, verdict }: Judged): PathStep[] {
  if (verdict?.reason === 'error') return comparison.path(errorsIn);
  return comparison.slow.length > 0 ? comparison.path() : [];
}

const errorsIn = (step: Step): number =>
  [...step.beneath.values()].reduce((sum, beneath) => sum + errorsIn(beneath), step.errors);

const medianOf = (profiles: readonly Profile[] = []): number =>
  median(profiles.map(({ durationNs }) => durationNs));
