import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { debianPackage } from './debian.js';
import { freePort } from './collector.js';
import { RunningProcess } from './process.js';

export interface PrometheusSeries {
  labels: Record<string, string>;
  value: number;
}

export interface PrometheusExemplar {
  /** Of the series that it was found on. */
  series: Record<string, string>;
  labels: Record<string, string>;
  value: number;
  timestamp: number;
}

interface Reply<T> {
  status: string;
  error?: string;
  data: T;
}

export interface PrometheusOptions {
  /** Scrape targets, by job: HOST:PORT each. */
  targets: Record<string, string[]>;
  /** What a cluster would add to every target. */
  labels?: Record<string, string>;
  /** Files of recording and alerting rules. */
  rules?: string[];
}

/** A real Prometheus, of Debian, that scrapes each second. */
export class Prometheus {
  private constructor(
    private readonly process: RunningProcess,
    private readonly port: number,
  ) {}

  static async binary(): Promise<string> {
    return join(await debianPackage('trixie', 'prometheus'), 'usr/bin/prometheus');
  }

  /** `folder` takes its configuration and its data. */
  static async start(folder: string, options: PrometheusOptions): Promise<Prometheus> {
    const { targets, labels = {}, rules } = options;
    const config = join(folder, 'prometheus.yml');
    await writeFile(
      config,
      JSON.stringify({
        global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
        rule_files: rules ?? [],
        scrape_configs: Object.entries(targets).map(([job, addresses]) => ({
          job_name: job,
          static_configs: [{ targets: addresses, labels }],
        })),
      }),
    );
    const port = await freePort();
    const started = await RunningProcess.start(await Prometheus.binary(), [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'prometheus')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--enable-feature=exemplar-storage',
    ]);
    await started.until('ready', () =>
      started.output.includes('Server is ready to receive web requests') ? true : null,
    );
    return new Prometheus(started, port);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get output(): string {
    return this.process.output;
  }

  /**
   * An instant query, of now or of another time in ms; a scalar is one series without labels.
   * Throws what Prometheus finds wrong.
   */
  async query(expression: string, at = Date.now()): Promise<PrometheusSeries[]> {
    type Vector = { resultType: 'vector'; result: { metric: Labels; value: [number, string] }[] };
    type Scalar = { resultType: 'scalar'; result: [number, string] };
    const reply = await this.get<Vector | Scalar>('query', {
      query: expression,
      time: String(at / 1e3),
    });
    if (reply.resultType === 'scalar') return [{ labels: {}, value: Number(reply.result[1]) }];
    return reply.result.map(({ metric, value }) => ({ labels: metric, value: toNumber(value[1]) }));
  }

  /** Waits until `test` holds for what the query gives, and gives that. */
  async until(
    expression: string,
    test: (series: PrometheusSeries[]) => boolean,
    ms = 30_000,
  ): Promise<PrometheusSeries[]> {
    return this.process.until(
      expression,
      async () => {
        const series = await this.query(expression);
        return test(series) ? series : null;
      },
      ms,
    );
  }

  /** Of the series that the expression selects, in the last hour. */
  async exemplars(expression: string): Promise<PrometheusExemplar[]> {
    const now = Date.now() / 1e3;
    const found = await this.get<
      {
        seriesLabels: Labels;
        exemplars: { labels: Labels; value: string; timestamp: number }[];
      }[]
    >('query_exemplars', {
      query: expression,
      start: String(now - 3_600),
      end: String(now + 60),
    });
    return found.flatMap(({ seriesLabels, exemplars }) =>
      exemplars.map(({ labels, value, timestamp }) => ({
        series: seriesLabels,
        labels,
        value: Number(value),
        timestamp,
      })),
    );
  }

  /** Why a target cannot be scraped, by its address; "" where it can. */
  async scrapeErrors(): Promise<Record<string, string>> {
    const { activeTargets } = await this.get<{
      activeTargets: { scrapeUrl: string; lastError: string }[];
    }>('targets', {});
    return Object.fromEntries(activeTargets.map((target) => [target.scrapeUrl, target.lastError]));
  }

  /** Why a rule cannot be evaluated, by its name; "" where it can. */
  async ruleErrors(): Promise<Record<string, string>> {
    const { groups } = await this.get<{
      groups: { rules: { name: string; lastError?: string }[] }[];
    }>('rules', {});
    const rules = groups.flatMap((group) => group.rules);
    return Object.fromEntries(rules.map(({ name, lastError = '' }) => [name, lastError]));
  }

  async stop(): Promise<void> {
    await this.process.stop();
  }

  private async get<T>(path: string, parameters: Record<string, string>): Promise<T> {
    const query = new URLSearchParams(parameters);
    const response = await fetch(`${this.url}/api/v1/${path}?${query.toString()}`);
    const reply = (await response.json()) as Reply<T>;
    if (reply.status !== 'success') throw new Error(`${path}: ${reply.error}`);
    return reply.data;
  }
}

type Labels = Record<string, string>;

/** It writes +Inf, which Number() does not read. */
function toNumber(text: string): number {
  return /^[+-]?Inf$/.test(text) ? Number(text.replace('Inf', 'Infinity')) : Number(text);
}
