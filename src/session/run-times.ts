/**
 * CPU time of our programs. The kernel can time each run, by two looks at the clock that make every
 * run of every BPF program of the host slower by 100 to 200 ns. So it is asked for moments only, and
 * what runs take in between follows from how often sites were hit, which our programs count.
 */

/** From when programs are attached, in ms. */
const FIRST_MS = 100;
/** So many times as long while none of them has run. */
const FIRST_TIMES = 20;
const LATER_MS = 50;
const EVERY_MS = 5_000;
/** What was learnt before counts for that much each time that something new is learnt. */
const MEMORY = 0.5;

/** A program: hits by our own counts, and its runs as far as the kernel has timed them. */
export interface ProgramCounts {
  program: string;
  hits: number;
  runTimeNs: number;
  runCount: number;
}

/** What all runs of a program have come to, as estimated. Never goes back. */
export interface ProgramTime {
  program: string;
  runTimeNs: number;
  runCount: number;
  /** Hits that are in neither, since no run has been timed by which they could be judged. */
  untimedHits: number;
}

export interface RunTimesOptions {
  /** Lets the kernel time runs until that is closed; null: it does not for us. */
  enable: (() => { close(): void }) | null;
  /** The kernel times all runs, since somebody else has asked for it. */
  areOn: () => boolean;
  /** A number that is another one if there may have been hits since. */
  activity: () => number;
  /** All that is loaded, by the attachment. */
  read: () => Iterable<readonly [attachment: object, programs: readonly ProgramCounts[]]>;
}

/** Exact for the time in which the kernel timed runs. */
class Estimate {
  private runTimeNs = 0;
  private runCount = 0;
  private untimedHits = 0;
  /** Of late. By hits, not by runs: so what runs without a hit that counts is paid for too. */
  private readonly timed = { hits: 0, runTimeNs: 0, runCount: 0 };

  constructor(private last: ProgramCounts) {}

  get isTimed(): boolean {
    return this.timed.hits > 0;
  }

  get time(): ProgramTime {
    const { runTimeNs, runCount, untimedHits } = this;
    return { program: this.last.program, runTimeNs, runCount, untimedHits };
  }

  /** `timed`: the kernel has timed all runs since the last look. */
  look(now: ProgramCounts, timed: boolean): void {
    const hits = now.hits - this.last.hits;
    const runTimeNs = now.runTimeNs - this.last.runTimeNs;
    const runCount = now.runCount - this.last.runCount;
    this.last = now;
    if (!timed) {
      this.untimedHits += hits;
    } else {
      this.runTimeNs += runTimeNs;
      this.runCount += runCount;
      if (hits > 0) this.learn(hits, runTimeNs, runCount);
    }
    if (!this.isTimed) return;
    this.runTimeNs += (this.untimedHits * this.timed.runTimeNs) / this.timed.hits;
    this.runCount += (this.untimedHits * this.timed.runCount) / this.timed.hits;
    this.untimedHits = 0;
  }

  private learn(hits: number, runTimeNs: number, runCount: number): void {
    this.timed.hits = this.timed.hits * MEMORY + hits;
    this.timed.runTimeNs = this.timed.runTimeNs * MEMORY + runTimeNs;
    this.timed.runCount = this.timed.runCount * MEMORY + runCount;
  }
}

export class RunTimes {
  private readonly estimates = new Map<object, Map<string, Estimate>>();
  /** What has been removed had come to. */
  private readonly gone = new Map<string, ProgramTime>();
  private readonly known = new WeakSet<object>();
  /** Attached since the window is open. */
  private readonly fresh = new Set<object>();
  private window: { close(): void } | null = null;
  /** When it was looked last. */
  private wereOn: boolean;
  /** How often the window is prolonged at most. */
  private patience = 0;
  private timer: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(private readonly options: RunTimesOptions) {
    this.wereOn = options.areOn();
  }

  /** False: nobody times anything. */
  get canBeKnown(): boolean {
    return this.options.enable !== null || this.options.areOn();
  }

  /** What is attached for the first time is timed from then on, however soon all ends. */
  async whileAttaching(attachment: object, attach: () => Promise<void>): Promise<void> {
    if (this.known.has(attachment)) return attach();
    this.known.add(attachment);
    this.fresh.add(attachment);
    this.patience = FIRST_TIMES;
    this.open(FIRST_MS);
    await attach();
    this.open(FIRST_MS);
  }

  /** What is loaded must have been looked at before it is hit. */
  look(): void {
    const areOn = this.window !== null || this.options.areOn();
    const timed = this.wereOn && areOn;
    for (const [attachment, programs] of this.options.read()) {
      const known = this.estimates.get(attachment) ?? new Map<string, Estimate>();
      this.estimates.set(attachment, known);
      for (const counts of programs) {
        const estimate = known.get(counts.program);
        if (estimate) estimate.look(counts, timed);
        else known.set(counts.program, new Estimate(counts));
      }
    }
    this.wereOn = areOn;
  }

  /** As of the last look. */
  of(attachment: object): ProgramTime[] {
    return [...(this.estimates.get(attachment)?.values() ?? [])].map(({ time }) => time);
  }

  /** Of all that was removed. */
  get ofGone(): ProgramTime[] {
    return [...this.gone.values()];
  }

  /** It is about to be removed. */
  forget(attachment: object): void {
    this.look();
    for (const time of this.of(attachment)) {
      const { program } = time;
      const before = this.gone.get(program);
      this.gone.set(program, before ? sum(before, time) : time);
    }
    this.estimates.delete(attachment);
    this.fresh.delete(attachment);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.timer) clearTimeout(this.timer);
    this.look();
    this.shut();
  }

  private open(ms: number): void {
    const { enable, areOn } = this.options;
    if (this.closed || !enable) return;
    if (this.timer) clearTimeout(this.timer);
    if (!this.window && !areOn()) {
      this.look();
      try {
        this.window = enable();
        this.wereOn = true;
      } catch {
        // As where no file can be opened for the moment; the next window may be.
      }
    }
    this.timer = setTimeout(() => this.end(), ms).unref();
  }

  private end(): void {
    this.look();
    if (this.fresh.size > 0 && this.patience-- > 0 && !this.hasTimed(this.fresh)) {
      this.timer = setTimeout(() => this.end(), FIRST_MS).unref();
      return;
    }
    this.fresh.clear();
    this.shut();
    this.rest();
  }

  /** Until the next window. Where nothing has been hit there is nothing to be learnt. */
  private rest(): void {
    const before = this.options.activity();
    this.timer = setTimeout(() => {
      if (this.options.activity() === before) this.rest();
      else this.open(LATER_MS);
    }, EVERY_MS).unref();
  }

  private hasTimed(attachments: Iterable<object>): boolean {
    return [...attachments].some((each) =>
      [...(this.estimates.get(each)?.values() ?? [])].some(({ isTimed }) => isTimed),
    );
  }

  private shut(): void {
    this.window?.close();
    this.window = null;
    this.wereOn = this.options.areOn();
  }
}

const sum = (a: ProgramTime, b: ProgramTime): ProgramTime => ({
  program: a.program,
  runTimeNs: a.runTimeNs + b.runTimeNs,
  runCount: a.runCount + b.runCount,
  untimedHits: a.untimedHits + b.untimedHits,
});
