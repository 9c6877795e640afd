/** Numbers of functions: places in the table of statistics, given out and taken back in ranges. */
export class Numbers {
  /** Free ranges by their first number, ascending, none touching another. */
  private free: { first: number; count: number }[];
  /** One more than the largest that was ever given out. */
  used: number;

  constructor(first: number, count: number) {
    this.free = count > 0 ? [{ first, count }] : [];
    this.used = first;
  }

  /** How many a range can have at most. */
  get room(): number {
    return this.free.reduce((most, { count }) => Math.max(most, count), 0);
  }

  /** The first of a range; null where there is no room. */
  take(count: number): number | null {
    if (count === 0) return 0;
    const range = this.free.find((each) => each.count >= count);
    if (!range) return null;
    const { first } = range;
    range.first += count;
    range.count -= count;
    this.free = this.free.filter((each) => each.count > 0);
    this.used = Math.max(this.used, first + count);
    return first;
  }

  giveBack(first: number, count: number): void {
    if (count === 0) return;
    const all = [...this.free, { first, count }].sort((a, b) => a.first - b.first);
    this.free = [];
    for (const range of all) {
      const last = this.free.at(-1);
      if (last && last.first + last.count === range.first) last.count += range.count;
      else this.free.push({ ...range });
    }
  }
}
