/** What Kubernetes says of the pods of this node. */
import type { Notice } from '../../sinks/sink.js';
import type { PodFacts } from '../workload.js';
import { ApiSource } from './api-source.js';
import { Backoff, type BackoffOptions } from './backoff.js';
import { CLIENT_LIMITS, KubernetesClient, type ClientLimits } from './client.js';
import { KubeletSource, type KubeletTimes } from './kubelet-source.js';
import { Owners } from './owners.js';
import type { PodContainer } from './pod.js';
import type { KubernetesSettings } from './settings.js';
import type { PodSource } from './source.js';

export interface KubernetesTuning {
  limits?: Partial<ClientLimits>;
  backoff?: BackoffOptions;
  kubelet?: KubeletTimes;
}

export interface KnownPod {
  facts: PodFacts;
  /** null: not known which. */
  container: PodContainer | null;
  /** Attributes that the pod's annotations ask for. */
  resource: Record<string, string>;
}

export class Kubernetes {
  private readonly source: PodSource;
  private readonly owners: Owners;
  private problem: string | null = null;

  constructor(
    private readonly settings: KubernetesSettings,
    private readonly onNotice: (notice: Notice) => void,
    onChange: () => void,
    tuning: KubernetesTuning = {},
  ) {
    const client = new KubernetesClient(settings, { ...CLIENT_LIMITS, ...tuning.limits });
    const backoff = new Backoff(tuning.backoff);
    const events = { onChange, onProblem: (problem: string | null) => this.tell(problem) };
    const api = settings.source === 'api';
    this.owners = new Owners(api ? client : null, onChange);
    this.source = api
      ? new ApiSource(client, settings.nodeName, events, backoff)
      : new KubeletSource(client, events, backoff, tuning.kubelet);
  }

  start(): void {
    this.source.start();
  }

  close(): void {
    this.source.close();
  }

  find(containers: readonly string[], uid: string | null): KnownPod | null {
    const found = this.source.pods.find(containers, uid);
    if (!found) return null;
    const { pod, container } = found;
    const { name, namespace, labels, resource } = pod;
    const node = pod.node ?? this.settings.nodeName;
    const owners = this.owners.of(pod);
    return { facts: { name, namespace, uid: pod.uid, node, labels, owners }, container, resource };
  }

  /** A process was seen whose pod is not known. */
  missing(): void {
    this.source.missing();
  }

  /** Each problem once, until it is over or another one. */
  private tell(problem: string | null): void {
    if (problem !== null && problem !== this.problem) {
      const where = this.settings.source === 'api' ? 'the API server' : 'the kubelet';
      this.onNotice({
        code: 'PODS_NOT_READ',
        message: `what is known of pods may be out of date: ${where} (${this.settings.url.origin}): ${problem}`,
        hint: 'containers are still told by the files of their engine; docs/discovery.md has the permissions',
      });
    }
    this.problem = problem;
  }
}
