import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { buildTarget } from './go.js';
import { smallest, type OtlpAttributes, type OtlpSpan, type OtlpValue } from './otlp.js';
import { RunningProcess } from './process.js';

/** A real OpenTelemetry Collector; it can be stopped and started again on the same ports. */
export class Collector {
  private process: RunningProcess | null = null;

  private constructor(
    private readonly binary: string,
    private readonly config: string,
    private readonly file: string,
    private readonly grpcPort: number,
    private readonly httpPort: number,
  ) {}

  /**
   * `folder` takes its configuration and what it receives; without `keeps` it only counts that, and
   * says how many spans it was in its output once it has stopped.
   */
  static async start(folder: string, { keeps = true } = {}): Promise<Collector> {
    const binary = await buildTarget('collector', { flags: ['-ldflags=-s -w'] });
    const [grpcPort, httpPort] = [await freePort(), await freePort()];
    const config = join(folder, 'collector.yaml');
    const file = join(folder, 'traces.jsonl');
    await writeFile(
      config,
      [
        'receivers:',
        '  otlp:',
        '    protocols:',
        `      grpc: { endpoint: "127.0.0.1:${grpcPort}", max_recv_msg_size_mib: 64 }`,
        `      http: { endpoint: "127.0.0.1:${httpPort}" }`,
        'exporters:',
        `  file: { path: ${JSON.stringify(keeps ? file : '')} }`,
        'service:',
        '  telemetry: { metrics: { level: none }, logs: { level: info } }',
        '  pipelines:',
        '    traces: { receivers: [otlp], exporters: [file] }',
        '',
      ].join('\n'),
    );
    const collector = new Collector(binary, config, file, grpcPort, httpPort);
    await collector.resume();
    return collector;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.grpcPort}`;
  }

  get httpEndpoint(): string {
    return `http://127.0.0.1:${this.httpPort}`;
  }

  get output(): string {
    return this.process?.output ?? '';
  }

  /** Starts it again after a stop. What it wrote before stays. */
  async resume(): Promise<void> {
    const started = await RunningProcess.start(this.binary, ['--config', this.config]);
    this.process = started;
    await started.until('ready', () =>
      started.output.includes('Everything is ready') ? true : null,
    );
  }

  async stop(): Promise<void> {
    await this.process?.stop();
  }

  /** What it had taken and not written is gone; what it had written may not have been answered. */
  async kill(): Promise<void> {
    await this.process?.stop('SIGKILL');
  }

  /** It neither reads nor answers, and its connections stay, until it may go on. */
  stall(): void {
    this.process?.child.kill('SIGSTOP');
  }

  proceed(): void {
    this.process?.child.kill('SIGCONT');
  }

  /** All spans that it has written so far. */
  async spans(): Promise<OtlpSpan[]> {
    const text = await readFile(this.file, 'utf8');
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .flatMap((line) => spansOf(JSON.parse(line) as JsonTraces));
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/* OTLP/JSON: 64-bit integers are strings, ids are hex, and fields at their default are left out. */

interface JsonValue {
  stringValue?: string;
  boolValue?: boolean;
  intValue?: string;
  doubleValue?: number;
  arrayValue?: { values?: JsonValue[] };
}
type JsonAttributes = { key: string; value: JsonValue }[];
interface JsonSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  flags?: number;
  name?: string;
  kind?: number;
  startTimeUnixNano?: string;
  endTimeUnixNano?: string;
  attributes?: JsonAttributes;
  events?: { timeUnixNano?: string; name?: string; attributes?: JsonAttributes }[];
  links?: { traceId?: string; spanId?: string; attributes?: JsonAttributes }[];
  status?: { code?: number; message?: string };
}
interface JsonTraces {
  resourceSpans?: {
    resource?: { attributes?: JsonAttributes };
    scopeSpans?: { scope?: { name?: string; version?: string }; spans?: JsonSpan[] }[];
  }[];
}

function spansOf(traces: JsonTraces): OtlpSpan[] {
  return (traces.resourceSpans ?? []).flatMap((group) => {
    const resource = attributesOf(group.resource?.attributes);
    return (group.scopeSpans ?? []).flatMap(({ scope, spans }) =>
      (spans ?? []).map((span) => ({
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId || null,
        flags: span.flags ?? 0,
        name: span.name ?? '',
        kind: span.kind ?? 0,
        startTimeUnixNano: BigInt(span.startTimeUnixNano ?? 0),
        endTimeUnixNano: BigInt(span.endTimeUnixNano ?? 0),
        attributes: attributesOf(span.attributes),
        events: (span.events ?? []).map((event) => ({
          timeUnixNano: BigInt(event.timeUnixNano ?? 0),
          name: event.name ?? '',
          attributes: attributesOf(event.attributes),
        })),
        links: (span.links ?? []).map((link) => ({
          traceId: link.traceId ?? '',
          spanId: link.spanId ?? '',
          attributes: attributesOf(link.attributes),
        })),
        status: { code: span.status?.code ?? 0, message: span.status?.message ?? '' },
        scope: { name: scope?.name ?? '', version: scope?.version ?? '' },
        resource,
      })),
    );
  });
}

function attributesOf(attributes: JsonAttributes = []): OtlpAttributes {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, valueOf(value)]));
}

function valueOf(value: JsonValue): OtlpValue {
  if (value.intValue !== undefined) return smallest(BigInt(value.intValue));
  if (value.arrayValue !== undefined) return (value.arrayValue.values ?? []).map(valueOf);
  return value.stringValue ?? value.boolValue ?? value.doubleValue ?? null;
}
