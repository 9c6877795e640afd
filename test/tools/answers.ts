/** test/targets/http: a program that answers requests in every way, and counts what it answered. */
import { Agent, request } from 'node:http';
import { connect } from 'node:http2';
import { RunningProcess } from './process.js';

export interface Answered {
  route: string;
  method: string;
  status: number;
  count: number;
}

export class Answers {
  private readonly connections = new Agent({ keepAlive: true, maxSockets: 16 });

  private constructor(
    readonly process: RunningProcess,
    readonly binary: string,
    private readonly plain: string,
    private readonly secure: string,
  ) {}

  static async start(binary: string, env: Record<string, string> = {}): Promise<Answers> {
    const process = await RunningProcess.start(binary, [], env);
    const [, plain = '', secure = ''] = await process.until('listening', () =>
      /^listening on (\S+) and (\S+)$/m.exec(process.output),
    );
    return new Answers(process, binary, plain, secure);
  }

  /** What it counted itself. */
  async counts(): Promise<Answered[]> {
    const response = await fetch(`${this.plain}/counters`);
    return (await response.json()) as Answered[];
  }

  /** Over HTTP/1.1. Resolves to the status, or to null where the connection was cut. */
  ask(path: string, method = 'GET'): Promise<number | null> {
    return new Promise((resolve) => {
      // What is sent with a connection that is cut is not sent again.
      const sent = request(
        this.plain + path,
        { method, agent: this.connections, timeout: 30_000 },
        (response) => {
          response.resume();
          response.on('error', () => resolve(null));
          response.on('end', () => resolve(response.statusCode ?? null));
        },
      );
      sent.on('timeout', () => sent.destroy());
      sent.on('error', () => resolve(null));
      sent.end();
    });
  }

  /** Over HTTP/2, at once on one connection. */
  async askAll(asked: readonly { path: string; method: string }[]): Promise<(number | null)[]> {
    const session = connect(this.secure, { rejectUnauthorized: false });
    session.on('error', () => undefined);
    const statuses = await Promise.all(
      asked.map(
        ({ path, method }) =>
          new Promise<number | null>((resolve) => {
            let status: number | null = null;
            const stream = session.request({ ':path': path, ':method': method });
            stream.on('response', (headers) => (status = headers[':status'] ?? null));
            stream.on('error', () => resolve(null));
            stream.on('close', () => resolve(status));
            stream.resume();
            stream.end();
          }),
      ),
    );
    session.close();
    return statuses;
  }

  async stop(): Promise<void> {
    this.connections.destroy();
    await this.process.stop();
  }
}
