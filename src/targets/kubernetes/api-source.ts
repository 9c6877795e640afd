/** Pods from the API server: a list, then what changes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { asArray, asObject, asText, parseObject } from '../json.js';
import { Backoff } from './backoff.js';
import { type KubernetesClient, reasonOf, StatusError } from './client.js';
import { parsePod, type Pod } from './pod.js';
import { Pods } from './pods.js';
import type { PodSource, SourceEvents } from './source.js';

/** Objects of one answer where the list is read in parts. */
const PAGE = 250;
const MOST_PAGES = 16;
const WATCH_SECONDS = 300;

/** What has been seen so far is not kept by the server any more: the list has to be read again. */
class GoneError extends Error {}

export class ApiSource implements PodSource {
  readonly pods = new Pods();
  /** Up to which all changes are known; null: the list has to be read. */
  private version: string | null = null;
  private listed = false;
  private full = false;
  private started = false;

  constructor(
    private readonly client: KubernetesClient,
    private readonly nodeName: string,
    private readonly events: SourceEvents,
    private readonly backoff = new Backoff(),
  ) {}

  start(): void {
    if (this.started) return;
    this.started = true;
    void this.run();
  }

  close(): void {
    this.client.close();
  }

  /** A watch tells of it by itself. */
  missing(): void {
    return;
  }

  private async run(): Promise<void> {
    while (!this.client.closed) {
      let waitMs = 0;
      try {
        if (this.version === null) await this.list();
        // A server that ends each watch at once would be asked without end.
        if (!(await this.watch())) waitMs = this.backoff.failed();
      } catch (error) {
        if (this.client.closed) return;
        if (isGone(error)) this.version = null;
        else this.events.onProblem(reasonOf(error));
        waitMs = this.backoff.failed();
      }
      await sleep(waitMs, undefined, { signal: this.client.signal, ref: false }).catch(
        () => undefined,
      );
    }
  }

  private get path(): string {
    return `/api/v1/pods?fieldSelector=${encodeURIComponent(`spec.nodeName=${this.nodeName}`)}`;
  }

  /**
   * The first time any recent state will do, which the server has in memory by node: a current one
   * would be read from its store for the whole cluster, by every agent of a roll-out.
   */
  private async list(): Promise<void> {
    const from = this.listed ? `&limit=${PAGE}` : '&resourceVersion=0';
    const pods: Pod[] = [];
    let next: string | null = '';
    let version: string | null = null;
    for (let page = 0; next !== null && page < MOST_PAGES; page++) {
      const path = this.path + from + (next === '' ? '' : `&continue=${encodeURIComponent(next)}`);
      const list = asObject(await this.client.get(path));
      const metadata = asObject(list?.['metadata']);
      pods.push(
        ...asArray(list?.['items'])
          .map(parsePod)
          .filter((pod) => pod !== null),
      );
      version = asText(metadata?.['resourceVersion']);
      next = asText(metadata?.['continue']);
    }
    if (version === null) throw new Error('the list of pods has no version');
    this.listed = true;
    this.version = version;
    this.full = !this.pods.replace(pods);
    this.tellState();
    this.events.onChange();
  }

  private tellState(): void {
    this.events.onProblem(this.full ? tooMany(this.pods.size) : null);
  }

  /** True if the server had anything to say. */
  private async watch(): Promise<boolean> {
    const path =
      `${this.path}&watch=1&allowWatchBookmarks=true&timeoutSeconds=${WATCH_SECONDS}` +
      `&resourceVersion=${encodeURIComponent(this.version ?? '')}`;
    let events = 0;
    const began = performance.now();
    const onLine = (line: string | null): void => {
      events++;
      // Too long: of this pod what was known before has to do.
      if (line !== null) this.apply(line);
      this.backoff.succeeded();
    };
    await this.client.lines(path, (WATCH_SECONDS + 30) * 1_000, onLine, () => this.tellState());
    return events > 0 || performance.now() - began > 1_000;
  }

  private apply(line: string): void {
    const event = parseObject(line);
    // What cannot be understood would come again.
    if (!event) throw new GoneError();
    const object = asObject(event['object']);
    const type = event['type'];
    if (type === 'ERROR') {
      const code = Number(object?.['code']);
      if (code === 410) throw new GoneError();
      throw new StatusError(code, 'the watch');
    }
    const metadata = asObject(object?.['metadata']);
    this.version = asText(metadata?.['resourceVersion']) ?? this.version;
    if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED') return;
    const pod = type === 'DELETED' ? null : parsePod(object);
    if (!pod) this.pods.delete(asText(metadata?.['uid']) ?? '');
    else if (!this.pods.set(pod)) {
      this.full = true;
      this.tellState();
    }
    this.events.onChange();
  }
}

const isGone = (error: unknown): boolean =>
  error instanceof GoneError || (error instanceof StatusError && error.status === 410);

export const tooMany = (most: number): string =>
  `this node has more than ${most} pods, and those beyond are left out`;
