/** Answers in JSON, and errors as their kind and code. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorKind, UnderspanError } from '../../errors.js';
import type { ErrorBody } from './protocol.js';

const STATUS_OF_KIND: Record<ErrorKind, number> = {
  failed: 500,
  usage: 400,
  'not-permitted': 403,
  unsupported: 422,
  'not-found': 404,
};

const STATUS_OF_CODE: Record<string, number> = {
  NOT_LET_IN: 401,
  BODY_TOO_LARGE: 413,
  TOO_MANY_SESSIONS: 429,
  AGENT_STOPS: 503,
};

/** What may be told of an error; what is no UnderspanError is for the agent's log alone. */
export function errorBody(error: unknown): ErrorBody {
  if (!(error instanceof UnderspanError)) {
    const message = 'the agent failed, which should not happen; its log has more';
    return { kind: 'failed', code: 'INTERNAL', message };
  }
  const { kind, code, message, hint } = error;
  return { kind, code, message, ...(hint === undefined ? {} : { hint }) };
}

export function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`${JSON.stringify(body)}\n`);
}

export function answerError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = errorBody(error);
  // What is left of the request is not read.
  response.setHeader('connection', 'close');
  answer(response, STATUS_OF_CODE[body.code] ?? STATUS_OF_KIND[body.kind], { error: body });
}

/** The whole body as text; what is too much is read no further than to be thrown away. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxBytes) chunks.push(chunk);
      else reject(tooLarge(maxBytes));
    });
    request.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
    request.on('error', reject);
  });
}

const tooLarge = (maxBytes: number): UnderspanError =>
  new UnderspanError(
    'usage',
    'BODY_TOO_LARGE',
    `the body of the request is larger than ${maxBytes} bytes`,
  );
