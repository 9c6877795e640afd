/** Numbers that can be repeated: the same input gives the same answer (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Of however many there are, so many, each with the same chance. */
export class Reservoir<T> {
  readonly kept: T[] = [];
  seen = 0;
  private readonly random = randomNumbers(1);

  constructor(private size: number) {}

  /** To so many, each of those that are kept with the same chance. */
  shrink(size: number): void {
    this.size = size;
    const { kept } = this;
    for (let place = 0; place < Math.min(size, kept.length); place++) {
      const other = place + Math.floor(this.random() * (kept.length - place));
      [kept[place], kept[other]] = [kept[other] as T, kept[place] as T];
    }
    if (kept.length > size) kept.length = size;
  }

  add(value: T): void {
    this.seen++;
    if (this.kept.length < this.size) {
      this.kept.push(value);
      return;
    }
    const place = Math.floor(this.random() * this.seen);
    if (place < this.size) this.kept[place] = value;
  }
}

/** The `size` largest. */
export class Largest<T> {
  readonly kept: T[] = [];

  constructor(
    private size: number,
    private readonly valueOf: (of: T) => number,
  ) {}

  shrink(size: number): void {
    this.size = size;
    if (this.kept.length > size) this.kept.length = size;
  }

  add(value: T): void {
    const last = this.kept.at(-1);
    const full = this.kept.length >= this.size;
    if (full && last !== undefined && this.valueOf(last) >= this.valueOf(value)) return;
    if (full) this.kept.pop();
    let low = 0;
    for (let high = this.kept.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.valueOf(this.kept[middle] as T) >= this.valueOf(value)) low = middle + 1;
      else high = middle;
    }
    this.kept.splice(low, 0, value);
  }
}
