/** The other end of the control interface: asks an agent, and gives a session's spans to sinks. */
import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as plainRequest, type RequestOptions } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { UnderspanError } from '../../errors.js';
import type { Sink, Summary } from '../../sinks/sink.js';
import { strangeAnswer, toError } from './client-errors.js';
import { Incoming } from './incoming.js';
import type { ErrorBody, SessionInfo, SessionRequest, StartedEvent } from './protocol.js';

const CONNECT_MS = 10_000;
const KEEP_ALIVE_MS = 30_000;
const MAX_ANSWER_BYTES = 4 << 20;

/** Files are read for each request. */
export interface AgentAddress {
  /** Path of its socket, or https://HOST:PORT. */
  at: string;
  authorityFile?: string;
  certificateFile?: string;
  keyFile?: string;
  tokenFile?: string;
}

/** A session that the agent runs for us. */
export interface AgentSession {
  readonly started: StartedEvent;
  /** Resolves when the sinks have been closed with it; rejects if the agent could not end it. */
  readonly summary: Promise<Summary>;
  /** Asks for its end, which is then told by `summary`. Never rejects. */
  stop(): Promise<void>;
}

export class AgentClient {
  constructor(private readonly address: AgentAddress) {}

  async sessions(): Promise<SessionInfo[]> {
    const answer = await this.ask('GET', '/v1/sessions');
    if (!Array.isArray(answer['sessions'])) throw strangeAnswer('it lists no sessions');
    return answer['sessions'] as SessionInfo[];
  }

  async stop(id: string): Promise<void> {
    await this.ask('DELETE', `/v1/sessions/${encodeURIComponent(id)}`);
  }

  /** Resolves when it traces. */
  async start(wishes: SessionRequest, sinks: readonly Sink[]): Promise<AgentSession> {
    const response = await this.send('POST', '/v1/sessions', JSON.stringify(wishes));
    const incoming = new Incoming(response, sinks);
    const started = await incoming.started;
    return {
      started,
      summary: incoming.summary,
      stop: async () => {
        incoming.stopAsked = true;
        // An agent that does not end it by request does when nobody listens any more.
        await this.stop(started.id).catch((error: unknown) => incoming.abort(error));
      },
    };
  }

  private async ask(method: string, path: string): Promise<Record<string, unknown>> {
    const text = await textOf(await this.send(method, path));
    try {
      // What is no object has none of the fields that are looked for.
      return Object(JSON.parse(text)) as Record<string, unknown>;
    } catch (error) {
      throw strangeAnswer('it is no JSON', error);
    }
  }

  /** The answer, its body still to be read; an error of the agent is thrown as it was there. */
  private async send(method: string, path: string, body?: string): Promise<IncomingMessage> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = this.request(method, path, body !== undefined);
      const timer = setTimeout(
        () => outgoing.destroy(new Error('no connection in time')),
        CONNECT_MS,
      );
      outgoing.on('socket', (socket) => {
        socket.once('connect', () => clearTimeout(timer));
        // An agent whose node is gone does not say so.
        socket.setKeepAlive(true, KEEP_ALIVE_MS);
      });
      outgoing.on('error', (error) => {
        clearTimeout(timer);
        reject(this.unreachable(error));
      });
      outgoing.on('response', (message) => {
        clearTimeout(timer);
        resolve(message);
      });
      outgoing.end(body);
    });
    if (response.statusCode === 200) return response;
    throw errorOf(await textOf(response), response.statusCode ?? 0);
  }

  private request(method: string, path: string, hasBody: boolean): ReturnType<typeof plainRequest> {
    const { at, authorityFile, certificateFile, keyFile, tokenFile } = this.address;
    const headers: Record<string, string> = hasBody ? { 'content-type': 'application/json' } : {};
    const options: RequestOptions = { method, path, headers, agent: false };
    if (!at.startsWith('https://')) return plainRequest({ ...options, socketPath: at });
    if (tokenFile !== undefined) {
      headers['authorization'] = `Bearer ${read(tokenFile).toString('utf8').trim()}`;
    }
    return tlsRequest(new URL(path, at), {
      ...options,
      ...(authorityFile === undefined ? {} : { ca: read(authorityFile) }),
      ...(certificateFile === undefined ? {} : { cert: read(certificateFile) }),
      ...(keyFile === undefined ? {} : { key: read(keyFile) }),
    });
  }

  private unreachable(error: NodeJS.ErrnoException): UnderspanError {
    const { at } = this.address;
    if (error.code === 'EACCES') {
      return new UnderspanError(
        'not-permitted',
        'AGENT_NOT_PERMITTED',
        `the agent's socket ${at} is not for this user`,
        'run as root, or reach the agent over the network: --agent=https://HOST:PORT',
        { cause: error },
      );
    }
    const hint = at.startsWith('https://')
      ? 'control.network of its configuration says where it listens, and --agent-ca whom to trust'
      : 'start one: trace agent --config FILE; --agent=PATH says where its socket is (control.socket)';
    return new UnderspanError(
      'failed',
      'AGENT_UNREACHABLE',
      `no agent can be reached at ${at}: ${error.message}`,
      hint,
      { cause: error },
    );
  }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw strangeAnswer('it is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function read(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UnderspanError(
      'usage',
      'FILE_UNREADABLE',
      `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function errorOf(text: string, status: number): UnderspanError {
  try {
    return toError((JSON.parse(text) as { error: ErrorBody }).error);
  } catch {
    return strangeAnswer(`status ${status}`);
  }
}
