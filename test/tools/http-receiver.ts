import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecureServer, type ServerOptions } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { decodeTraces, encodeTracesResponse, type OtlpSpan } from './otlp.js';

/** How a request is answered; by default it is accepted whole. `null`: never. */
export type HttpAnswer =
  | { accept: true; rejected?: number; message?: string; cut?: boolean }
  | { accept: false; status: number; headers?: Record<string, string>; body?: string | Buffer }
  | null;

export interface HttpReceiverOptions {
  port?: number;
  tls?: ServerOptions;
  /** Asked for each request with its spans and its number from 0. */
  answer?: (spans: OtlpSpan[], request: number) => HttpAnswer | Promise<HttpAnswer>;
}

/** An OTLP/HTTP receiver of traces, in this process. */
export class HttpReceiver {
  private static readonly running = new Set<HttpReceiver>();
  /** All that were accepted. */
  readonly spans: OtlpSpan[] = [];
  readonly paths: string[] = [];
  readonly headers: IncomingHttpHeaders[] = [];
  private readonly server: Server;

  private constructor(private readonly options: HttpReceiverOptions) {
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      this.receive(request, response).catch((error: unknown) => {
        response.writeHead(400).end(String(error));
      });
    };
    this.server = options.tls ? createSecureServer(options.tls, listener) : createServer(listener);
  }

  static async start(options: HttpReceiverOptions = {}): Promise<HttpReceiver> {
    const receiver = new HttpReceiver(options);
    receiver.server.listen(options.port ?? 0, '127.0.0.1');
    await once(receiver.server, 'listening');
    HttpReceiver.running.add(receiver);
    return receiver;
  }

  get requests(): number {
    return this.paths.length;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get endpoint(): string {
    return `${this.options.tls ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  private async receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const number = this.paths.push(request.url ?? '') - 1;
    this.headers.push(request.headers);
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const sent = Buffer.concat(chunks);
    const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent;
    const spans = decodeTraces(body);
    const { answer: ask } = this.options;
    const answer = ask ? await ask(spans, number) : { accept: true as const };
    if (answer === null) return;
    if (!answer.accept) {
      response.writeHead(answer.status, answer.headers).end(answer.body);
      return;
    }
    for (const span of spans) this.spans.push(span);
    if (answer.cut) {
      request.socket.destroy();
      return;
    }
    response.writeHead(200, { 'content-type': 'application/x-protobuf' });
    response.end(encodeTracesResponse(answer.rejected ?? 0, answer.message ?? ''));
  }

  static stopAll(): void {
    for (const receiver of HttpReceiver.running) receiver.stop();
  }

  /** Cuts connections off, as a receiver that has died would. */
  stop(): void {
    HttpReceiver.running.delete(this);
    this.server.close();
    this.server.closeAllConnections();
  }
}
