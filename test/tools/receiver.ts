import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { decodeTraces, encodeTracesResponse, type OtlpSpan } from './otlp.js';

/** How a request is answered; by default it is accepted whole. */
export type Answer =
  | { accept: true; rejected?: number; message?: string }
  | { accept: false; code: status; message: string; details?: Buffer };

export interface ReceiverOptions {
  port?: number;
  credentials?: ServerCredentials;
  /** Asked for each request with its spans and its number from 0; may take its time. */
  answer?: (spans: OtlpSpan[], request: number) => Answer | Promise<Answer>;
}

/** An OTLP/gRPC receiver of traces, in this process. */
export class Receiver {
  private static readonly running = new Set<Receiver>();
  /** All that were accepted. */
  readonly spans: OtlpSpan[] = [];
  requests = 0;
  /** Of each request. */
  readonly metadata: Metadata[] = [];
  private port = 0;
  private readonly server = new Server({ 'grpc.max_receive_message_length': 64 << 20 });

  private constructor(private readonly options: ReceiverOptions) {
    const identity = (message: Buffer): Buffer => message;
    this.server.addService(
      {
        Export: {
          path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
          requestStream: false,
          responseStream: false,
          requestSerialize: identity,
          requestDeserialize: identity,
          responseSerialize: identity,
          responseDeserialize: identity,
        },
      },
      {
        Export: (
          call: { request: Buffer; metadata: Metadata },
          reply: (
            error: { code: status; details: string; metadata?: Metadata } | null,
            response?: Buffer,
          ) => void,
        ) => {
          this.metadata.push(call.metadata);
          this.receive(call.request).then(
            (answer) => {
              if (answer.accept)
                reply(null, encodeTracesResponse(answer.rejected ?? 0, answer.message ?? ''));
              else {
                const metadata = new Metadata();
                if (answer.details) metadata.set('grpc-status-details-bin', answer.details);
                reply({ code: answer.code, details: answer.message, metadata });
              }
            },
            (error: unknown) => reply({ code: status.INVALID_ARGUMENT, details: String(error) }),
          );
        },
      },
    );
  }

  static async start(options: ReceiverOptions = {}): Promise<Receiver> {
    const receiver = new Receiver(options);
    receiver.port = await new Promise<number>((resolve, reject) =>
      receiver.server.bindAsync(
        `127.0.0.1:${options.port ?? 0}`,
        options.credentials ?? ServerCredentials.createInsecure(),
        (error, port) => (error ? reject(error) : resolve(port)),
      ),
    );
    Receiver.running.add(receiver);
    return receiver;
  }

  get endpoint(): string {
    return `${this.options.credentials ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  private async receive(message: Buffer): Promise<Answer> {
    const number = this.requests++;
    const spans = decodeTraces(message);
    const answer = (await this.options.answer?.(spans, number)) ?? { accept: true };
    // One by one: a request can hold more spans than a call can have arguments.
    if (answer.accept) for (const span of spans) this.spans.push(span);
    return answer;
  }

  /** Cuts connections off, and goes on. */
  cut(): void {
    this.server.drain(`127.0.0.1:${this.port}`, 0);
  }

  static stopAll(): void {
    for (const receiver of Receiver.running) receiver.stop();
  }

  /** Cuts connections off, as a receiver that has died would. */
  stop(): void {
    Receiver.running.delete(this);
    this.server.forceShutdown();
  }
}

const field = (number: number, bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);

/** A google.rpc.Status with a RetryInfo of so many seconds. */
export function retryInfo(seconds: number): Buffer {
  const type = Buffer.from('type.googleapis.com/google.rpc.RetryInfo');
  const delay = field(1, Buffer.from([0x08, seconds]));
  return field(3, Buffer.concat([field(1, type), field(2, delay)]));
}
