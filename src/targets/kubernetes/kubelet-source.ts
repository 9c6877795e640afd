/** Pods from the kubelet of this node, which has no watch: they are read again and again. */
import { setTimeout as sleep } from 'node:timers/promises';
import { asArray, asObject } from '../json.js';
import { tooMany } from './api-source.js';
import { Backoff } from './backoff.js';
import { type KubernetesClient, reasonOf } from './client.js';
import { parsePod } from './pod.js';
import { Pods } from './pods.js';
import type { PodSource, SourceEvents } from './source.js';

export interface KubeletTimes {
  /** Between two reads. */
  everyMs: number;
  /** The same where a pod is missed. */
  soonMs: number;
}

export class KubeletSource implements PodSource {
  readonly pods = new Pods();
  private started = false;
  private last = '';
  /** A pod has been missed since the last read began. */
  private wanted = false;
  /** Ends the wait for the next read. */
  private hurry: (() => void) | null = null;

  constructor(
    private readonly client: KubernetesClient,
    private readonly events: SourceEvents,
    private readonly backoff = new Backoff(),
    private readonly times: KubeletTimes = { everyMs: 30_000, soonMs: 2_000 },
  ) {}

  start(): void {
    if (this.started) return;
    this.started = true;
    void this.run();
  }

  close(): void {
    this.client.close();
  }

  missing(): void {
    this.wanted = true;
    this.hurry?.();
  }

  private async run(): Promise<void> {
    while (!this.client.closed) {
      try {
        await this.read();
        this.backoff.succeeded();
        await this.pause(this.times.soonMs);
        if (!this.wanted) await this.pause(this.times.everyMs - this.times.soonMs, true);
      } catch (error) {
        if (this.client.closed) return;
        this.events.onProblem(reasonOf(error));
        await this.pause(this.backoff.failed());
      }
    }
  }

  private async pause(ms: number, interruptible = false): Promise<void> {
    const over = sleep(ms, undefined, { signal: this.client.signal, ref: false }).catch(
      () => undefined,
    );
    const hurried = new Promise<void>((resolve) => {
      if (interruptible) this.hurry = resolve;
    });
    await Promise.race([over, hurried]);
    this.hurry = null;
  }

  private async read(): Promise<void> {
    this.wanted = false;
    const list = asObject(await this.client.get('/pods'));
    const pods = asArray(list?.['items'])
      .map(parsePod)
      .filter((pod) => pod !== null);
    const all = this.pods.replace(pods);
    this.events.onProblem(all ? null : tooMany(this.pods.size));
    const now = JSON.stringify(pods);
    if (now === this.last) return;
    this.last = now;
    this.events.onChange();
  }
}
