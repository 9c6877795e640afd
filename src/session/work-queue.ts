/** Work that is done one piece after the other, and work that goes on beside it. */
export class WorkQueue {
  private last: Promise<unknown> = Promise.resolve();
  private readonly others = new Set<Promise<void>>();

  /** Begins when all that was added before is done. */
  add<T>(work: () => Promise<T> | T): Promise<T> {
    const done = this.last.then(work);
    this.last = done.catch(() => undefined);
    return done;
  }

  /** Nothing that is added waits for it. It must not reject. */
  beside(work: Promise<void>): void {
    const done = work.finally(() => this.others.delete(done));
    this.others.add(done);
  }

  /** Resolves when all that has been asked for so far is done. */
  async settled(): Promise<void> {
    for (;;) {
      await this.last;
      if (this.others.size === 0) return;
      await Promise.all(this.others);
    }
  }
}
