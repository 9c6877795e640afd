/** Remembers at least the last `capacity` ids that were added, and at most twice as many. */
export class RecentIds {
  private young = new Set<string>();
  private old = new Set<string>();

  constructor(private readonly capacity: number) {}

  add(id: string): void {
    if (this.young.size >= this.capacity) {
      this.old = this.young;
      this.young = new Set();
    }
    this.young.add(id);
  }

  has(id: string): boolean {
    // Often there are none, and looking up an id that is new computes its hash.
    if (this.young.size === 0 && this.old.size === 0) return false;
    return this.young.has(id) || this.old.has(id);
  }
}
