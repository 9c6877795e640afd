/** The agent's control interface without tracing anything: an engine that does as it is told. */
import { once } from 'node:events';
import { type IncomingMessage, request as plainRequest, type RequestOptions } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ControlConfig } from '../../src/agent/config/config.js';
import { ControlServer, type ControlServerOptions } from '../../src/agent/control/server.js';
import type { Plan, Trace, TraceOptions } from '../../src/engine.js';
import type { Native } from '../../src/native/native.js';
import { ASSUMED_COSTS } from '../../src/plan/host-costs.js';
import type { Sink, Summary } from '../../src/sinks/sink.js';
import type { FunctionSpan } from '../../src/spans/span.js';
import { inFolder } from './folder.js';

export const EMPTY_SUMMARY: Summary = {
  by: { key: 'span.name', values: [] },
  functions: [],
  lost: { tooShort: 1 },
  contexts: { unreadable: 0, truncated: 0 },
  valuesLost: 0,
  waitsLost: 0,
  allocations: null,
  suspensions: 0,
  overhead: { predicted: null, measured: 0.1 },
};

export const SPAN: FunctionSpan = {
  traceId: '0af7651916cd43dd8448eb211c80319c',
  spanId: 'b7ad6b7169203331',
  parentSpanId: null,
  traceFlags: 1,
  name: 'main.work',
  startTimeUnixNano: 1_700_000_000_123_456_789n,
  endTimeUnixNano: 1_700_000_000_123_457_789n,
  durationNano: 1_000,
  status: { code: 'unset' },
  attributes: { 'thread.id': 9 },
  resource: { attributes: { 'service.name': 'shop' } },
  functionIndex: 3,
};

/** One trace that the fake engine was asked for. */
export interface FakeTrace {
  options: TraceOptions;
  sink: Sink;
  /** As if the last target had ended. */
  end: () => void;
  /** Resolves when it was told to stop. */
  stopped: Promise<void>;
}

export class FakeEngine {
  readonly traces: FakeTrace[] = [];
  /** Given to all that start. */
  notices: Plan['notices'] = [];
  /** What startTrace() fails with. */
  failure: Error | null = null;
  /** What stop() fails with. */
  stopFailure: Error | null = null;
  /** startTrace() waits for it. */
  ready: Promise<void> = Promise.resolve();
  private readonly waiters: (() => void)[] = [];

  readonly startTrace = async (_native: Native, options: TraceOptions): Promise<Trace> => {
    await this.ready;
    if (this.failure) throw this.failure;
    let end!: () => void;
    const ended = new Promise<void>((resolve) => (end = resolve));
    let tellStopped!: () => void;
    const stopped = new Promise<void>((resolve) => (tellStopped = resolve));
    const [sink] = options.sinks;
    if (!sink) throw new Error('no sink');
    this.traces.push({ options, sink, end, stopped });
    this.waiters.splice(0).forEach((wake) => wake());
    const { notices } = this;
    const targets = options.selection.pids.map((pid) => ({
      ...{ pid, startTime: 1, comm: 'shop', exe: '/app/shop', file: '', fileId: '1:1', argv: [] },
    }));
    const functions = [{ name: 'main.work' }];
    const pids = targets.map(({ pid }) => pid);
    const modules = [
      { path: '/app/shop', role: { kind: 'main' }, fileId: '1:1', pids, plan: { functions } },
    ] as unknown as Plan['modules'];
    return {
      plan: { targets, modules, costs: ASSUMED_COSTS, notices },
      ended,
      command: null,
      stop: async () => {
        tellStopped();
        if (this.stopFailure) throw this.stopFailure;
        await sink.flush?.(5_000);
        const lost = { ...EMPTY_SUMMARY.lost, ...sink.lost?.() };
        const summary = { ...EMPTY_SUMMARY, lost };
        await sink.close(summary);
        return summary;
      },
    };
  };

  /** Resolves with the trace of this index as soon as it has started. */
  async trace(index = 0): Promise<FakeTrace> {
    for (;;) {
      const trace = this.traces[index];
      if (trace) return trace;
      await new Promise<void>((resolve) => this.waiters.push(resolve));
    }
  }
}

export interface Logged {
  level: 'info' | 'warn' | 'error';
  message: string;
  object: Record<string, unknown>;
}

export interface Control {
  server: ControlServer;
  engine: FakeEngine;
  folder: string;
  socket: string;
  auditLog: string;
  log: Logged[];
}

export type ControlSettings = Partial<ControlConfig> &
  Partial<Pick<ControlServerOptions, 'kubernetes' | 'selectTargets' | 'native'>>;

/** Who connects is this process, whoever it belongs to. */
export const localPeer = (): { pid: number; uid: number } => ({
  pid: process.pid,
  uid: process.geteuid?.() ?? 0,
});

export function controlServer(
  folder: string,
  { kubernetes, selectTargets, native, ...config }: ControlSettings = {},
): Control {
  const engine = new FakeEngine();
  const socket = join(folder, 'run/agent.sock');
  const auditLog = join(folder, 'audit.log');
  const log: Logged[] = [];
  const at =
    (level: Logged['level']) =>
    (object: object, message: string): void =>
      void log.push({ level, message, object: object as Record<string, unknown> });
  const server = new ControlServer({
    config: {
      ...{ socket, network: null, maxDurationMs: 60_000, maxSessions: 4, auditLog },
      ...config,
    },
    native: native ?? ({ peerCredentials: localPeer } as unknown as Native),
    log: { info: at('info'), warn: at('warn'), error: at('error') },
    version: '1.2.3',
    startTrace: engine.startTrace,
    ...(kubernetes ? { kubernetes } : {}),
    ...(selectTargets ? { selectTargets } : {}),
  });
  return { server, engine, folder, socket, auditLog, log };
}

/** A server that listens while `run` does. */
export function withControl(
  settings: ControlSettings,
  run: (control: Control) => Promise<void>,
): Promise<void> {
  return inFolder(async (folder) => {
    const control = controlServer(folder, settings);
    await control.server.start();
    try {
      await run(control);
    } finally {
      await control.server.close('the test is over');
    }
  });
}

export interface Answer {
  status: number;
  body: Record<string, unknown> & { error?: { kind: string; code: string; message: string } };
}

/** Sends a request over the socket; the body of the answer is still to be read. */
export async function send(
  socketPath: string,
  method: string,
  path: string,
  body?: object | string,
  options: RequestOptions = {},
): Promise<IncomingMessage> {
  const outgoing = plainRequest({
    ...{ socketPath, method, path, agent: false },
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    ...options,
  });
  outgoing.end(typeof body === 'object' ? JSON.stringify(body) : body);
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  return response;
}

export async function ask(...args: Parameters<typeof send>): Promise<Answer> {
  return answerOf(await send(...args));
}

export async function answerOf(response: IncomingMessage): Promise<Answer> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk as string;
  return { status: response.statusCode ?? 0, body: JSON.parse(text) as Answer['body'] };
}

export type Line = Record<string, unknown> & { type: string };

/** The lines of a session's answer, one after the other. */
export class Lines {
  private readonly lines: AsyncIterator<string, undefined>;

  constructor(readonly response: IncomingMessage) {
    this.lines = createInterface({ input: response })[Symbol.asyncIterator]();
  }

  static async open(socket: string, body: object): Promise<Lines> {
    const response = await send(socket, 'POST', '/v1/sessions', body);
    if (response.statusCode !== 200) {
      throw new Error(JSON.stringify((await answerOf(response)).body));
    }
    return new Lines(response);
  }

  async next(): Promise<Line> {
    const { value, done } = await this.lines.next();
    if (done) throw new Error('the answer has ended');
    return JSON.parse(value) as Line;
  }

  async rest(): Promise<Line[]> {
    const lines: Line[] = [];
    for (;;) {
      const { value, done } = await this.lines.next();
      if (done) return lines;
      lines.push(JSON.parse(value) as Line);
    }
  }
}

export const WISHES = { selection: { pids: [42] }, symbols: ['main.*'] };
