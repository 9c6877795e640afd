/** From the queue to the spool: what the endpoint does not take, now or not fast enough. */
import { NOTICES } from './otlp-notices.js';
import type { Batch, OtlpQueue } from './otlp-queue.js';
import type { OtlpWire } from './otlp-wire.js';
import type { Notice } from './sink.js';
import type { Spool } from './spool.js';

/** After a write for which there was no room, or that failed. */
const PAUSE_MS = 1_000;

export interface OverflowOptions {
  /** As the user knows it. */
  directory: string;
  /** A write has come to its end, whatever that was. */
  onWritten: () => void;
  onNotice: (notice: Notice) => void;
}

export class Overflow {
  private writing: Promise<void> | null = null;
  private pausedUntil = 0;

  constructor(
    private readonly queue: OtlpQueue,
    private readonly spool: Spool,
    private readonly options: OverflowOptions,
  ) {}

  /** Begins to write the oldest batch, unless one is being written. */
  next(wire: OtlpWire): void {
    if (this.writing || Date.now() < this.pausedUntil) return;
    const batch = this.queue.take();
    if (!batch) return;
    this.writing = this.write(wire, batch).then((written) => {
      this.writing = null;
      if (!written) this.pausedUntil = Date.now() + PAUSE_MS;
      this.options.onWritten();
    });
  }

  /**
   * All that is left, as far as it fits and there is time. Batches whose answer is still missing
   * come last, and perhaps twice; they are taken from `unanswered`.
   */
  async rest(wire: OtlpWire, end: number, unanswered: Set<Batch>): Promise<void> {
    await this.writing;
    while (Date.now() < end) {
      const batch = this.queue.take() ?? takeFrom(unanswered);
      if (!batch || !(await this.write(wire, batch))) return;
    }
  }

  /** What cannot be written waits in memory as before. */
  private async write(wire: OtlpWire, batch: Batch): Promise<boolean> {
    const { directory, onNotice } = this.options;
    try {
      const encoded = this.queue.encoded(batch, wire);
      if (await this.spool.write(encoded, batch.count, batch.uncertain)) {
        this.queue.done(batch);
        return true;
      }
      onNotice(NOTICES.spoolFull(directory));
    } catch (error) {
      onNotice(NOTICES.spoolFailed(directory, error));
    }
    this.queue.giveBack(batch);
    return false;
  }
}

function takeFrom(unanswered: Set<Batch>): Batch | null {
  for (const batch of unanswered) {
    unanswered.delete(batch);
    batch.uncertain++;
    return batch;
  }
  return null;
}
