import { buildTarget, type BuildOptions } from './go.js';
import { RunningProcess } from './process.js';

export interface ShopOptions {
  /** Where it exports its own spans; null: nowhere. */
  otlpEndpoint?: string | null;
  /** File of its truth log. */
  truth?: string;
  serviceName?: string;
  env?: Record<string, string>;
  build?: BuildOptions;
  /** A command that is given the shop's, such as a tracer with `--`; pid is then that command's. */
  under?: string[];
}

export interface ShopCounters {
  /** Calls of each function, as the shop itself counts them. */
  calls: Record<string, number>;
  spans: { started: number; ended: number; exported: number; failed: number };
}

/** The sample service; test/targets/README.md describes it. */
export class Shop {
  private constructor(
    readonly process: RunningProcess,
    readonly binary: string,
    readonly url: string,
  ) {}

  static async start(options: ShopOptions = {}): Promise<Shop> {
    const binary = await buildTarget('shop', options.build);
    const env: Record<string, string> = {
      OTEL_SERVICE_NAME: options.serviceName ?? 'shop',
      ...(options.otlpEndpoint
        ? { OTEL_EXPORTER_OTLP_ENDPOINT: options.otlpEndpoint }
        : { OTEL_TRACES_EXPORTER: 'none' }),
      ...(options.truth === undefined ? {} : { SHOP_TRUTH: options.truth }),
      ...options.env,
    };
    const [command = binary, ...args] = [...(options.under ?? []), binary];
    const process = await RunningProcess.start(command, args, env);
    try {
      const url = await process.until(
        'listening',
        () => /^listening on (\S+)$/m.exec(process.output)?.[1] ?? null,
      );
      return new Shop(process, binary, url);
    } catch (error) {
      await process.stop('SIGKILL');
      throw error;
    }
  }

  get pid(): number {
    return this.process.pid;
  }

  get output(): string {
    return this.process.output;
  }

  async counters(): Promise<ShopCounters> {
    const response = await fetch(`${this.url}/counters`);
    return (await response.json()) as ShopCounters;
  }

  /** Has it export its spans and write its truth log. */
  async flush(): Promise<void> {
    const response = await fetch(`${this.url}/flush`, { method: 'POST' });
    if (!response.ok) throw new Error(`flush: ${response.status} ${await response.text()}`);
  }

  async stop(): Promise<void> {
    await this.process.stop();
  }
}
