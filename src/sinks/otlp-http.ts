/**
 * OTLP/HTTP with protobuf: configuration by the OpenTelemetry packages, the request by Node itself.
 * Their transport reports a partial success as success, and its timeout starts anew with every
 * byte.
 */
import {
  type IncomingMessage,
  request as httpRequest,
  validateHeaderName,
  validateHeaderValue,
} from 'node:http';
import { request as httpsRequest } from 'node:https';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { convertLegacyHttpOptions } from '@opentelemetry/otlp-exporter-base/node-http';
import { readResponse, spanEncoder } from './otlp-encode.js';
import { isRetryableHttp, mayHaveArrived, retryAfterMs, statusMessage } from './otlp-retry.js';
import type { ExportResult, OtlpWire, WireOptions } from './otlp-wire.js';

const PATH = 'v1/traces';
const CONTENT_TYPE = 'application/x-protobuf';
/** The specification's bound on what is read of an answer. */
const LARGEST_ANSWER = 4 * 1024 * 1024;

const compress = promisify(gzip);

export async function openHttpWire({ endpoint, version }: WireOptions): Promise<OtlpWire> {
  const config = convertLegacyHttpOptions(
    endpoint === null ? {} : { url: withPath(endpoint) },
    'TRACES',
    PATH,
    { 'Content-Type': CONTENT_TYPE },
  );
  const url = new URL(config.url);
  const agent = await config.agentFactory(url.protocol);
  const headers: Record<string, string> = {
    ...(await config.headers()),
    'User-Agent': `underspan/${version}`,
  };
  // Here rather than in each request.
  for (const [name, value] of Object.entries(headers)) {
    validateHeaderName(name);
    validateHeaderValue(name, value);
  }
  const gzipped = config.compression === 'gzip';
  if (gzipped) headers['Content-Encoding'] = 'gzip';
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest;

  const post = (body: Uint8Array): Promise<ExportResult> =>
    new Promise((resolve) => {
      let connected = false;
      const failed = (error: Error): void =>
        resolve({ kind: 'retry', delayMs: null, uncertain: connected, message: error.message });
      const options = {
        method: 'POST',
        agent,
        headers: { ...headers, 'Content-Length': body.length },
      };
      const call = request(url, options, (response) => {
        answer(response).then(resolve, failed);
      });
      const timer = setTimeout(
        () => call.destroy(new Error(`no answer within ${config.timeoutMillis} ms`)),
        config.timeoutMillis,
      );
      call.on('socket', (socket) => {
        connected = !socket.connecting;
        // One that is kept alive serves many requests, and connects no more.
        if (connected) return;
        const event = url.protocol === 'https:' ? 'secureConnect' : 'connect';
        socket.once(event, () => (connected = true));
      });
      call.on('error', failed);
      call.on('close', () => clearTimeout(timer));
      call.end(body);
    });

  return {
    endpoint: config.url,
    encode: spanEncoder(version),
    send: async (batch) => post(gzipped ? await compress(batch) : batch),
    close: () => agent.destroy(),
  };
}

/** An endpoint without a path is where all signals go, as OTEL_EXPORTER_OTLP_ENDPOINT means it. */
function withPath(endpoint: string): string {
  const url = new URL(endpoint.trim());
  if (url.pathname === '/') url.pathname = PATH;
  return url.href;
}

async function answer(response: IncomingMessage): Promise<ExportResult> {
  const code = response.statusCode ?? 0;
  const taken = code >= 200 && code < 300;
  const body = await read(response).catch((error: unknown) => {
    // The status came, and says what became of the request.
    if (taken || isRetryableHttp(code)) return Buffer.alloc(0);
    throw error;
  });
  if (taken) return readResponse(body);
  const isStatus = response.headers['content-type']?.startsWith(CONTENT_TYPE) === true;
  const said = isStatus ? statusMessage(body) : body.toString('utf8').trim();
  const message = `HTTP ${code} ${response.statusMessage ?? ''}: ${said.slice(0, 200)}`.replace(
    /[\s:]+$/,
    '',
  );
  if (!isRetryableHttp(code)) return { kind: 'refused', message };
  const delayMs = retryAfterMs(response.headers['retry-after'], Date.now());
  return { kind: 'retry', delayMs, uncertain: mayHaveArrived(code), message };
}

async function read(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_ANSWER) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
