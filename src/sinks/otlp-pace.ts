/** When requests may go out: one at a time, with growing pauses, while the endpoint fails. */
import { backoffMs } from './otlp-retry.js';

const REQUESTS = 8;
/** A server that wants to be asked again at once must not make us spin. */
const SHORTEST_PAUSE_MS = 100;
/** Between tries when little time is left. */
const HURRIED_PAUSE_MS = 250;

export class OtlpPace {
  /** In a row, of whatever request: it is the endpoint that fails. */
  private failures = 0;
  private pausedUntil = 0;
  private hurried = false;

  get failing(): boolean {
    return this.failures > 0;
  }

  /** Requests under way at once: while the endpoint fails, one finds out whether it is back. */
  get limit(): number {
    return this.failing ? 1 : REQUESTS;
  }

  waitMs(now: number): number {
    return Math.max(0, this.pausedUntil - now);
  }

  failed(now: number, delayMs: number | null): void {
    // Requests that were under way together fail together: that is one failure.
    if (now >= this.pausedUntil) this.failures++;
    const backoff = backoffMs(this.failures);
    const pause = delayMs ?? (this.hurried ? Math.min(backoff, HURRIED_PAUSE_MS) : backoff);
    this.pausedUntil = Math.max(this.pausedUntil, now + Math.max(pause, SHORTEST_PAUSE_MS));
  }

  reached(): void {
    this.failures = 0;
    this.pausedUntil = 0;
  }

  /** There is no later: the endpoint may be back long before the pause is over. */
  hurry(): void {
    this.hurried = true;
    this.pausedUntil = 0;
  }
}
