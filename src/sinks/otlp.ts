/**
 * To a collector. What the OpenTelemetry exporter lacks is added here: a bounded queue of whole
 * trees, a spool on disk for what the collector does not take, several requests under way,
 * retries as the specification wants them, and a count of everything that was not delivered.
 */
import type { FunctionSpan } from '../spans/span.js';
import { checkSettings, chooseProtocol, type OtlpProtocol } from './otlp-environment.js';
import { NOTICES } from './otlp-notices.js';
import { Overflow } from './otlp-overflow.js';
import { OTLP_DEFAULTS, type OtlpOptions } from './otlp-options.js';
import { OtlpPace } from './otlp-pace.js';
import { type Batch, OtlpQueue } from './otlp-queue.js';
import { type ExportResult, openWire, type OtlpWire } from './otlp-wire.js';
import type { Notice, Sink, SinkState } from './sink.js';
import type { Segment } from './spool-segment.js';
import { Spool } from './spool.js';

/** A request is worth sending at once. */
const ENOUGH_SPANS = 512;
/** Encoding a full request takes some 2 ms. */
const LONGEST_TURN_MS = 5;
/** Of the queue: what is above goes to the spool, so that a burst still finds room. */
const SPOOL_ABOVE = 0.5;
const SPOOL_REOPEN_MS = 5_000;
const LONGEST_FLUSH_MS = 60_000;
/** For what is left when nobody asked for more with flush(). */
const CLOSE_MS = 5_000;

export class OtlpSink implements Sink {
  private readonly protocol: OtlpProtocol;
  private readonly queue: OtlpQueue;
  private readonly pace = new OtlpPace();
  private readonly sending = new Set<Batch>();
  private underWay = 0;
  private wire: OtlpWire | null = null;
  private spool: Spool | null = null;
  private overflow: Overflow | null = null;
  private flushing = false;
  /** Nothing is sent any more. */
  private stopped = false;
  private answeredAt = 0;
  private timer: NodeJS.Timeout | null = null;
  private timerAt = 0;
  private readonly idle: (() => void)[] = [];
  private readonly counts = {
    delivered: 0,
    repeated: 0,
    retries: 0,
    queue: 0,
    export: 0,
    spool: 0,
  };
  private readonly told = new Set<string>();
  private readonly maxBytes: number;
  private readonly delayMs: number;
  private readonly opening: Promise<unknown>;

  /** Throws UnderspanError if a setting cannot be followed. */
  constructor(private readonly options: OtlpOptions) {
    this.protocol = chooseProtocol(options.protocol ?? null, process.env);
    checkSettings(options.endpoint, this.protocol, process.env);
    this.maxBytes = options.maxBytes ?? OTLP_DEFAULTS.maxBytes;
    this.queue = new OtlpQueue(this.maxBytes);
    this.delayMs = options.delayMs ?? OTLP_DEFAULTS.delayMs;
    this.opening = Promise.all([this.open(), this.openSpool()]);
  }

  spans(tree: readonly FunctionSpan[]): void {
    if (this.stopped) {
      this.counts.export += tree.length;
    } else if (this.queue.offer(tree)) {
      this.schedule(this.queue.waiting >= ENOUGH_SPANS ? 0 : this.delayMs);
    } else if (this.spool?.full) {
      // The newest goes: of a tree that is refused here nothing has been kept anywhere.
      this.counts.spool += tree.length;
    } else {
      this.counts.queue += tree.length;
      this.tellOnce(NOTICES.queueFull());
    }
  }

  lost(): Record<string, number> {
    const { queue, export: refused, spool } = this.counts;
    if (!this.options.spool) return { queue, export: refused };
    return { queue, export: refused, spool, spoolCorrupt: this.spool?.corrupt ?? 0 };
  }

  state(): SinkState {
    const { delivered, repeated, retries } = this.counts;
    return {
      name: 'otlp',
      queuedSpans: this.queue.pending,
      queuedBytes: this.queue.bytes,
      spooledSpans: this.spool?.spans ?? 0,
      spooledBytes: this.spool?.bytes ?? 0,
      delivered,
      repeated,
      retries,
      lost: this.lost(),
    };
  }

  /** What is not delivered half-way to the deadline goes to the spool, if there is one. */
  async flush(deadlineMs: number): Promise<void> {
    if (this.stopped) return;
    const end = Date.now() + deadlineMs;
    if (this.options.spool) await within(end, this.opening);
    if (this.queue.pending > 0) {
      this.flushing = true;
      this.pace.hurry();
      this.schedule(0);
      await this.emptied(this.spool ? deadlineMs / 2 : deadlineMs);
    }
    this.stop();
    const { overflow, wire } = this;
    if (overflow && wire) await within(end, overflow.rest(wire, end, this.sending));
    this.giveUp();
  }

  async close(): Promise<void> {
    await this.flush(CLOSE_MS);
    await this.opening;
    this.wire?.close();
    await this.spool?.close();
  }

  /** Resolves when nothing is left in memory, or at the deadline. */
  private async emptied(deadlineMs: number): Promise<void> {
    const begin = Date.now();
    this.answeredAt = begin;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setInterval(() => {
        const now = Date.now();
        const since = this.options.patient && !this.spool ? this.answeredAt : begin;
        if (now - since > deadlineMs || now - begin > LONGEST_FLUSH_MS) resolve();
      }, 20);
    });
    await Promise.race([new Promise<void>((resolve) => this.idle.push(resolve)), late]);
    clearInterval(timer);
  }

  private stop(): void {
    this.stopped = true;
    if (this.timer) clearTimeout(this.timer);
    for (const resolve of this.idle.splice(0)) resolve();
  }

  /** What is neither delivered nor spooled by now is lost. */
  private giveUp(): void {
    this.counts[this.spool ? 'spool' : 'export'] += this.queue.abandon();
    this.sending.clear();
  }

  private async open(): Promise<void> {
    const { endpoint, version } = this.options;
    try {
      this.wire = await openWire(this.protocol, { endpoint, version });
      this.schedule(0);
    } catch (error) {
      this.tellOnce(NOTICES.configuration(error));
      this.stop();
      this.giveUp();
    }
  }

  /** What hinders it may pass: another process that is about to end, a disk that is not there yet. */
  private async openSpool(): Promise<void> {
    if (!this.options.spool || this.stopped) return;
    try {
      const spool = await Spool.open(this.options.spool);
      if (this.stopped) return await spool.close();
      this.overflow = new Overflow(this.queue, spool, {
        directory: this.options.spool.directory,
        onWritten: () => this.scheduleNext(),
        onNotice: (notice) => this.tellOnce(notice),
      });
      this.spool = spool;
      this.schedule(0);
    } catch (error) {
      this.tellOnce(NOTICES.spoolUnavailable(error));
      setTimeout(() => void this.openSpool(), SPOOL_REOPEN_MS).unref();
    }
  }

  /** Sends what is due, as much as a turn of the event loop has time to encode. */
  private pump(): void {
    const { wire, spool, queue } = this;
    if (!wire || this.stopped) return;
    if (this.pace.failing || queue.bytes > SPOOL_ABOVE * this.maxBytes) this.overflow?.next(wire);
    const wait = this.pace.waitMs(Date.now());
    if (wait > 0) return this.schedule(wait);
    if (this.underWay >= this.pace.limit) return;
    const end = performance.now() + LONGEST_TURN_MS;
    do {
      // The oldest first; at the end what is on disk can wait.
      const segment = this.flushing ? null : spool?.take();
      if (spool && segment) void this.sendSegment(wire, spool, segment);
      else void this.sendBatch(wire, queue.take());
    } while (
      queue.waiting >= ENOUGH_SPANS &&
      this.underWay < this.pace.limit &&
      performance.now() < end
    );
    this.scheduleNext();
  }

  private scheduleNext(): void {
    if (this.queue.pending === 0) for (const resolve of this.idle.splice(0)) resolve();
    const { waiting, failed } = this.queue;
    const spooled = this.flushing ? 0 : (this.spool?.waiting ?? 0);
    if (failed > 0 || waiting >= ENOUGH_SPANS || spooled > 0) this.schedule(0);
    else if (waiting > 0) this.schedule(this.flushing ? 0 : this.delayMs);
  }

  private async sendBatch(wire: OtlpWire, batch: Batch | null): Promise<void> {
    if (!batch) return;
    const encoded = this.queue.encoded(batch, wire);
    this.sending.add(batch);
    this.underWay++;
    const result = await wire.send(encoded);
    this.underWay--;
    // At the end it may have gone to the spool, or be given up.
    if (!this.sending.delete(batch)) return;
    if (result.kind !== 'retry') {
      this.queue.done(batch);
      this.settled(result, batch.count, batch.uncertain);
    } else {
      if (result.uncertain) batch.uncertain++;
      batch.failedSince ??= Date.now();
      this.failed(result);
      if (!this.spool && this.isTooOld(batch)) {
        this.queue.done(batch);
        this.counts.export += batch.count;
      } else {
        this.queue.giveBack(batch);
      }
    }
    this.scheduleNext();
  }

  private isTooOld({ failedSince }: Batch): boolean {
    const limit = this.options.maxRetryMs ?? OTLP_DEFAULTS.maxRetryMs;
    return failedSince !== null && Date.now() - failedSince > limit;
  }

  private async sendSegment(wire: OtlpWire, spool: Spool, segment: Segment): Promise<void> {
    this.underWay++;
    const { uncertain } = segment;
    const payload = await spool.read(segment);
    if (payload && this.stopped) {
      // It was read for nothing: the way is closed, or about to be.
      await spool.release(segment, false);
    } else if (payload) {
      const result = await wire.send(payload);
      if (result.kind !== 'retry') {
        this.settled(result, segment.spans, uncertain);
        await spool.remove(segment);
      } else {
        this.failed(result);
        await spool.release(segment, result.uncertain);
      }
    }
    this.underWay--;
    if (!this.stopped) this.scheduleNext();
  }

  private settled(
    result: Exclude<ExportResult, { kind: 'retry' }>,
    count: number,
    uncertain: number,
  ): void {
    this.answeredAt = Date.now();
    this.pace.reached();
    if (this.told.delete('otlp-unreachable')) this.options.onNotice(NOTICES.back());
    const lost = result.kind === 'refused' ? count : Math.min(result.rejected, count);
    this.counts.export += lost;
    this.counts.delivered += count - lost;
    if (result.kind === 'delivered') this.counts.repeated += count * uncertain;
    if (lost > 0) this.tellOnce(NOTICES.refused(result.message));
  }

  private failed({ delayMs, message }: ExportResult & { kind: 'retry' }): void {
    this.counts.retries++;
    this.pace.failed(Date.now(), delayMs);
    const endpoint = this.wire?.endpoint ?? 'its endpoint';
    this.tellOnce(NOTICES.unreachable(endpoint, message, this.spool !== null));
  }

  private tellOnce(notice: Notice): void {
    if (this.told.has(notice.code)) return;
    this.told.add(notice.code);
    this.options.onNotice(notice);
  }

  private schedule(delayMs: number): void {
    if (this.stopped) return;
    const at = Date.now() + delayMs;
    if (this.timer) {
      if (this.timerAt <= at) return;
      clearTimeout(this.timer);
    }
    this.timerAt = at;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.pump();
    }, delayMs);
  }
}

/** Waits for `work`, but not beyond `end`. */
async function within(end: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, end - Date.now()));
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
