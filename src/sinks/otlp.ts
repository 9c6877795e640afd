/**
 * To a collector. What the OpenTelemetry exporter lacks is added here: a bounded queue of whole
 * trees, several requests under way, retries as the specification wants them, and a count of
 * everything that was not delivered.
 */
import { UnderspanError } from '../errors.js';
import type { FunctionSpan } from '../spans/span.js';
import { type Batch, OtlpQueue } from './otlp-queue.js';
import { backoffMs } from './otlp-retry.js';
import { type ExportResult, openWire, type OtlpWire } from './otlp-wire.js';
import type { Notice, Sink } from './sink.js';

export interface OtlpOptions {
  /** null: as OTEL_EXPORTER_OTLP_* say. */
  endpoint: string | null;
  /** Of underspan, for the scope. */
  version: string;
  onNotice: (notice: Notice) => void;
  /** Spans that wait or are under way. */
  maxSpans?: number;
  maxBytes?: number;
  /** How long few spans wait for more. */
  delayMs?: number;
  /** A batch that could not be delivered for so long is given up. */
  maxRetryMs?: number;
}

const REQUESTS = 8;
/** A request is worth sending at once. */
const ENOUGH_SPANS = 512;
const DEFAULTS = {
  maxSpans: 100_000,
  maxBytes: 64 * 1024 * 1024,
  delayMs: 500,
  maxRetryMs: 300_000,
};
const LONGEST_FLUSH_MS = 60_000;
/** Between tries when little time is left. */
const FLUSH_PAUSE_MS = 250;
/** For what is left when nobody asked for more with flush(). */
const CLOSE_MS = 5_000;

export class OtlpSink implements Sink {
  private readonly queue: OtlpQueue;
  /** Batches to be sent again, oldest first. */
  private readonly retries: Batch[] = [];
  private wire: OtlpWire | null = null;
  private underWay = 0;
  /** In a row, of whatever batch: it is the endpoint that fails. */
  private failures = 0;
  private pausedUntil = 0;
  private flushing = false;
  private stopped = false;
  private answeredAt = 0;
  private timer: NodeJS.Timeout | null = null;
  private timerAt = 0;
  private readonly idle: (() => void)[] = [];
  private readonly counts = { queue: 0, export: 0 };
  private readonly told = new Set<string>();
  private readonly delayMs: number;
  private readonly opening: Promise<void>;

  /** Throws UnderspanError if the endpoint is no URL. */
  constructor(private readonly options: OtlpOptions) {
    checkEndpoint(options.endpoint);
    this.queue = new OtlpQueue(
      options.maxSpans ?? DEFAULTS.maxSpans,
      options.maxBytes ?? DEFAULTS.maxBytes,
    );
    this.delayMs = options.delayMs ?? DEFAULTS.delayMs;
    this.opening = this.open();
  }

  spans(tree: readonly FunctionSpan[]): void {
    if (this.stopped) {
      this.counts.export += tree.length;
    } else if (!this.queue.offer(tree)) {
      this.counts.queue += tree.length;
      this.tellOnce('otlp-queue-full', {
        message: 'the queue to the collector is full: spans are being dropped, and counted',
        hint: 'trace fewer functions, or sample (--sample, --max-rate)',
      });
    } else {
      this.schedule(this.queue.waiting >= ENOUGH_SPANS ? 0 : this.delayMs);
    }
  }

  lost(): Record<string, number> {
    return { ...this.counts };
  }

  /** The deadline counts anew from every answer, so that a slow endpoint is not cut off. */
  async flush(deadlineMs: number): Promise<void> {
    if (this.queue.pending > 0 && !this.stopped) {
      // There is no later: the endpoint may be back long before the pause is over.
      this.flushing = true;
      this.pausedUntil = 0;
      this.schedule(0);
      const idle = new Promise<void>((resolve) => this.idle.push(resolve));
      const begin = Date.now();
      this.answeredAt = begin;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setInterval(() => {
          const now = Date.now();
          if (now - this.answeredAt > deadlineMs || now - begin > LONGEST_FLUSH_MS) resolve();
        }, 50);
      });
      await Promise.race([idle, late]);
      clearInterval(timer);
    }
    this.stop();
  }

  async close(): Promise<void> {
    await this.flush(CLOSE_MS);
    await this.opening;
    this.wire?.close();
  }

  private pauseMs(): number {
    const pause = backoffMs(this.failures);
    return this.flushing ? Math.min(pause, FLUSH_PAUSE_MS) : pause;
  }

  /** What is not delivered by now is lost. */
  private stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    if (this.timer) clearTimeout(this.timer);
    this.counts.export += this.queue.pending;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private async open(): Promise<void> {
    try {
      this.wire = await openWire(this.options.endpoint, this.options.version);
      this.schedule(0);
    } catch (error) {
      this.tellOnce('otlp-configuration', {
        message: `OTLP export is not possible: ${error instanceof Error ? error.message : String(error)}`,
        hint: 'check --otlp-endpoint and the OTEL_EXPORTER_OTLP_* variables',
      });
      this.stop();
    }
  }

  /** Sends what is due. One batch a turn of the event loop: encoding one takes some 10 ms. */
  private pump(): void {
    const { wire } = this;
    if (!wire || this.stopped) return;
    const wait = this.pausedUntil - Date.now();
    if (wait > 0) return this.schedule(wait);
    // While the endpoint fails, one request finds out whether it is back.
    if (this.underWay >= (this.failures > 0 ? 1 : REQUESTS)) return;
    const batch = this.retries.shift() ?? this.queue.take();
    if (!batch) return;
    batch.encoded ??= wire.encode(batch.spans);
    this.underWay++;
    void wire.send(batch.encoded).then((result) => this.answered(batch, result));
    this.scheduleNext();
  }

  private scheduleNext(): void {
    const { waiting } = this.queue;
    if (this.retries.length > 0 || waiting >= ENOUGH_SPANS) this.schedule(0);
    else if (waiting > 0) this.schedule(this.flushing ? 0 : this.delayMs);
  }

  private answered(batch: Batch, result: ExportResult): void {
    this.underWay--;
    if (this.stopped) return;
    if (result.kind === 'retry') this.failed(batch, result);
    else {
      this.reached();
      this.answeredAt = Date.now();
      this.queue.done(batch);
      const { kind, message } = result;
      const lost = kind === 'refused' ? batch.spans.length : result.rejected;
      this.counts.export += Math.min(lost, batch.spans.length);
      if (lost > 0) {
        this.tellOnce('otlp-refused', {
          message: `the collector refuses spans: ${message || 'it does not say why'}`,
          hint: 'they are counted as lost (export); the collector has more in its own log',
        });
      }
    }
    if (this.queue.pending === 0) for (const resolve of this.idle.splice(0)) resolve();
    else this.scheduleNext();
  }

  private failed(batch: Batch, { delayMs, message }: ExportResult & { kind: 'retry' }): void {
    const now = Date.now();
    batch.failedSince ??= now;
    if (now - batch.failedSince > (this.options.maxRetryMs ?? DEFAULTS.maxRetryMs)) {
      this.queue.done(batch);
      this.counts.export += batch.spans.length;
    } else {
      this.retries.unshift(batch);
    }
    // Requests that were under way together fail together: that is one failure.
    if (now >= this.pausedUntil) this.failures++;
    this.pausedUntil = Math.max(this.pausedUntil, now + (delayMs ?? this.pauseMs()));
    this.tellOnce('otlp-unreachable', {
      message: `no answer from the collector at ${this.wire?.endpoint ?? 'its endpoint'}: ${message}`,
      hint: 'spans are kept and sent again as far as they fit the queue; the endpoint must speak OTLP over gRPC (usually port 4317), without TLS only if written with http://',
    });
  }

  private reached(): void {
    this.failures = 0;
    this.pausedUntil = 0;
    if (this.told.delete('otlp-unreachable')) {
      this.options.onNotice({ code: 'otlp-back', message: 'the collector answers again' });
    }
  }

  private tellOnce(code: string, notice: Omit<Notice, 'code'>): void {
    if (this.told.has(code)) return;
    this.told.add(code);
    this.options.onNotice({ code, ...notice });
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

function checkEndpoint(endpoint: string | null): void {
  if (endpoint === null) return;
  const url = /^\w{1,8}:\/\//.test(endpoint.trim()) ? endpoint : `https://${endpoint}`;
  if (/^(https?|unix):/i.test(url.trim()) && URL.canParse(url.trim())) return;
  throw new UnderspanError(
    'usage',
    'otlp-endpoint',
    `not an OTLP endpoint: ${endpoint}`,
    'write it as http://HOST:PORT or https://HOST:PORT',
  );
}
