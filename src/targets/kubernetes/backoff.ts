export interface BackoffOptions {
  firstMs: number;
  mostMs: number;
}

/** Each wait twice the last, less up to half by chance, so that agents do not come back at once. */
export class Backoff {
  private failures = 0;

  constructor(
    private readonly options: BackoffOptions = { firstMs: 1_000, mostMs: 60_000 },
    private readonly random: () => number = Math.random,
  ) {}

  succeeded(): void {
    this.failures = 0;
  }

  /** How long to wait before the next attempt. */
  failed(): number {
    const { firstMs, mostMs } = this.options;
    const ms = Math.min(mostMs, firstMs * 2 ** Math.min(this.failures++, 30));
    return ms * (1 - this.random() / 2);
  }
}
