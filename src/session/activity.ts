/**
 * Whether anything was called: our programs set a flag with each count. Whoever finds it set clears it
 * before the counts are read, so that what is not seen there sets it anew.
 *
 * Nobody who waits for it misses anything. Only this thread clears the flag. Where it is set after the
 * last look it stays so, whether the reader was asked before or after, until the reader finds it and
 * says so, or until somebody else's look clears it, and that tells as well. Both may happen: then it
 * is told twice, or to one who has asked anew, and nothing comes of the look that follows.
 */
import type { BpfMap } from '../native/native.js';

export class Activity {
  private times = 0;
  private waiting: (() => void) | null = null;

  /** `watch` asks for found(), once, when the flag is set, or is already. */
  constructor(
    private readonly flag: BpfMap,
    private readonly watch: () => void,
  ) {}

  /**
   * A number that is another one if calls may have been counted since it was asked for the last time;
   * ask before the counts are read.
   */
  look(): number {
    if (this.flag.read(0, 1).readUInt32LE() !== 0) {
      this.flag.update(Buffer.alloc(4), Buffer.alloc(4));
      this.times++;
      this.found();
    }
    return this.times;
  }

  /** Tells, once, when look() may return another number than that one. Only the last one waits. */
  once(since: number, tell: () => void): void {
    this.waiting = tell;
    if (this.times === since) this.watch();
    else this.found();
  }

  found(): void {
    const { waiting } = this;
    this.waiting = null;
    waiting?.();
  }
}
