/** One session: from its audit line to the last line of its answer. */
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { Trace } from '../../engine.js';
import { UnderspanError } from '../../errors.js';
import type { Notice } from '../../sinks/sink.js';
import { errorBody } from './answer.js';
import type { AuditRecord } from './audit.js';
import { type Caller, peerOf } from './caller.js';
import {
  SESSION_STOPPED,
  type SessionInfo,
  type SessionRequest,
  type StartedEvent,
  tracedModules,
} from './protocol.js';
import type { SessionsOptions } from './sessions.js';
import { StreamSink } from './stream.js';

/** Longest that a timer of Node takes. */
const MAX_TIMER_MS = 0x7fffffff;
/** How long a client may take to read what is left of its answer, in ms. */
const LAST_BYTES_MS = 5_000;

/** Why a session ended. What its client should hear of it comes before the summary. */
interface Ending {
  reason: string;
  notice: Notice | null;
}

export class ControlSession {
  readonly id = randomUUID();
  private since = Date.now();
  private readonly durationMs: number;
  /** What the client reads; it waits here until it is known that there is something to read. */
  private readonly body = new PassThrough();
  private readonly sink: StreamSink;
  private readonly waiting = new AbortController();
  private ending: Ending | null = null;
  private signalEnd!: () => void;
  private readonly ended = new Promise<void>((resolve) => (this.signalEnd = resolve));

  constructor(
    private readonly options: SessionsOptions,
    readonly caller: Caller,
    private readonly request: SessionRequest,
    private readonly response: ServerResponse,
  ) {
    this.durationMs = Math.min(request.durationMs ?? Infinity, options.maxDurationMs, MAX_TIMER_MS);
    this.sink = new StreamSink(this.body, request.programSpans);
    response.on('close', () => {
      if (response.writableFinished) return;
      this.end({ reason: 'the client went away', notice: null });
      // Frees whoever waits for it to be read.
      this.body.destroy(new Error('the client went away'));
    });
  }

  info(): SessionInfo {
    return {
      id: this.id,
      who: this.caller.who,
      peer: peerOf(this.caller),
      since: new Date(this.since).toISOString(),
      until: new Date(this.since + this.durationMs).toISOString(),
      selection: this.request.selection,
      symbols: this.request.symbols,
      spans: this.sink.taken,
    };
  }

  stop(caller: Caller): void {
    const message = `the session was stopped by ${caller.who} (${peerOf(caller)})`;
    this.end({ reason: message, notice: { code: SESSION_STOPPED, message } });
  }

  agentStops(reason: string): void {
    const message = `the agent stops: ${reason}`;
    this.end({ reason: message, notice: { code: 'AGENT_STOPS', message } });
  }

  /** Waits no longer for the client. */
  abandon(): void {
    this.response.destroy();
  }

  /** Rejects only where nothing has been answered yet. */
  async run(): Promise<void> {
    const { audit, log } = this.options;
    audit.write(this.startRecord());
    let failure: string | null = null;
    try {
      await this.trace();
    } catch (error) {
      failure = `it failed: ${error instanceof Error ? error.message : String(error)}`;
      throw error;
    } finally {
      try {
        audit.write({
          event: 'session-end',
          id: this.id,
          who: this.caller.who,
          peer: peerOf(this.caller),
          reason: this.ending?.reason ?? failure ?? 'its processes ended',
          spans: this.sink.taken,
          durationMs: Date.now() - this.since,
        });
      } catch (error) {
        log.error({ err: error, session: this.id }, 'the end of a session could not be audited');
      }
    }
  }

  private async trace(): Promise<void> {
    const trace = await this.start();
    this.since = Date.now();
    const timer = setTimeout(() => this.timeOver(), this.durationMs);
    try {
      if (!this.response.destroyed) this.answer(trace);
      await Promise.race([trace.ended, this.ended]);
    } finally {
      clearTimeout(timer);
      await this.conclude(trace);
    }
  }

  private async start(): Promise<Trace> {
    const { native, startTrace, selectTargets } = this.options;
    const { selection } = this.request;
    if (selection.waitMs > 0) {
      const waitMs = Math.min(selection.waitMs, this.durationMs);
      const { signal } = this.waiting;
      await selectTargets({ ...selection, waitMs }, { signal }).catch((error: unknown) => {
        if (this.ending === null) throw error;
      });
    }
    if (this.ending !== null) {
      throw new UnderspanError('failed', 'SESSION_ENDED', this.ending.reason);
    }
    return startTrace(native, {
      ...this.request,
      selection: { ...selection, waitMs: 0 },
      sinks: [this.sink],
    });
  }

  private answer(trace: Trace): void {
    const { id, since, until } = this.info();
    const modules = tracedModules(trace.plan);
    const started: StartedEvent = { type: 'started', id, since, until, modules };
    this.response.writeHead(200, {
      'content-type': 'application/x-ndjson',
      'cache-control': 'no-store',
    });
    this.response.write(`${JSON.stringify(started)}\n`);
    this.body.pipe(this.response);
    const { durationMs } = this.request;
    if (durationMs !== null && durationMs > this.durationMs) {
      this.sink.notice({
        code: 'DURATION_CUT',
        message: `the agent lets a session last ${this.durationMs / 1_000} s, not ${durationMs / 1_000} s`,
        hint: 'control.maxDuration of its configuration says so',
      });
    }
    trace.plan.notices.forEach((notice) => this.sink.notice(notice));
  }

  private async conclude(trace: Trace): Promise<void> {
    if (this.ending?.notice) this.sink.notice(this.ending.notice);
    try {
      await trace.stop();
    } catch (error) {
      this.options.log.error({ err: error, session: this.id }, 'a session ended badly');
      await this.sink.fail(errorBody(error));
    }
    this.body.end();
    const signal = AbortSignal.timeout(LAST_BYTES_MS);
    await finished(this.response, { signal }).catch(() => this.response.destroy());
  }

  private timeOver(): void {
    const asked = this.request.durationMs !== null && this.request.durationMs <= this.durationMs;
    const message = `the session reached the agent's limit of ${this.durationMs / 1_000} s`;
    this.end({
      reason: asked ? 'its time was over' : message,
      notice: asked ? null : { code: 'SESSION_LIMIT', message },
    });
  }

  /** The first reason counts. */
  private end(ending: Ending): void {
    this.ending ??= ending;
    this.waiting.abort();
    this.signalEnd();
  }

  private startRecord(): AuditRecord {
    const { selection, symbols, exclude, args, returns, stack, by, redact } = this.request;
    return {
      event: 'session-start',
      id: this.id,
      who: this.caller.who,
      peer: peerOf(this.caller),
      selection,
      symbols,
      exclude,
      args,
      returns,
      stack,
      by,
      redact,
      durationMs: this.durationMs,
    };
  }
}
