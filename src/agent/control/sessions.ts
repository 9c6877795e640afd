/** All sessions that were started through the control interface. */
import type { ServerResponse } from 'node:http';
import type { startTrace } from '../../engine.js';
import { UnderspanError } from '../../errors.js';
import type { Native } from '../../native/native.js';
import type { selectTargets } from '../../targets/select.js';
import type { Audit } from './audit.js';
import type { Caller } from './caller.js';
import type { ControlLog } from './log.js';
import type { SessionInfo, SessionRequest } from './protocol.js';
import { ControlSession } from './session.js';

export interface SessionsOptions {
  native: Native;
  startTrace: typeof startTrace;
  selectTargets: typeof selectTargets;
  maxDurationMs: number;
  maxSessions: number;
  audit: Audit;
  log: ControlLog;
}

/** How long clients have to read the end when the agent stops, in ms. */
const FAREWELL_MS = 1_200;
/** And after that, what is detached has to be, in ms. */
const DETACH_MS = 600;

export class Sessions {
  private readonly running = new Map<string, { session: ControlSession; done: Promise<void> }>();
  private closing: string | null = null;

  constructor(private readonly options: SessionsOptions) {}

  /** Resolves when the session has ended; rejects only where nothing was answered yet. */
  async run(caller: Caller, request: SessionRequest, response: ServerResponse): Promise<void> {
    const { maxSessions } = this.options;
    if (this.closing !== null) {
      throw new UnderspanError('failed', 'AGENT_STOPS', 'the agent is stopping');
    }
    if (this.running.size >= maxSessions) {
      throw new UnderspanError(
        'failed',
        'TOO_MANY_SESSIONS',
        `${maxSessions} sessions run already, and no more may (control.maxSessions)`,
        "'trace sessions' lists them; wait for one to end, or stop one",
      );
    }
    const session = new ControlSession(this.options, caller, request, response);
    const done = session.run();
    this.running.set(session.id, { session, done });
    try {
      await done;
    } finally {
      this.running.delete(session.id);
    }
  }

  list(): SessionInfo[] {
    return [...this.running.values()].map(({ session }) => session.info());
  }

  /** Who started the session; null if there is none of this id. */
  whose(id: string): Caller | null {
    return this.running.get(id)?.session.caller ?? null;
  }

  /** Resolves when it has ended. */
  async stop(id: string, caller: Caller): Promise<void> {
    const running = this.running.get(id);
    if (!running) return;
    running.session.stop(caller);
    await running.done.catch(() => undefined);
  }

  /** Ends all of them and takes no more; resolves within 2 s. */
  async close(reason: string): Promise<void> {
    this.closing = reason;
    const all = [...this.running.values()];
    const done = Promise.allSettled(all.map((each) => each.done));
    for (const { session } of all) session.agentStops(reason);
    if (await within(done, FAREWELL_MS)) return;
    for (const { session } of all) session.abandon();
    if (!(await within(done, DETACH_MS))) {
      this.options.log.error({ sessions: this.list() }, 'sessions did not end in time');
    }
  }
}

async function within(done: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(resolve, ms, false)));
  try {
    return await Promise.race([done.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
