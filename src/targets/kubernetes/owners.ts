/** What a pod belongs to: its controller, and what that belongs to. */
import { asObject } from '../json.js';
import { type KubernetesClient, StatusError } from './client.js';
import { controllerOf, type Controller, type Pod } from './pod.js';

/** Controllers that another one may own, by where the API has them. */
const PATHS: Record<string, (namespace: string, name: string) => string> = {
  ReplicaSet: (namespace, name) => `/apis/apps/v1/namespaces/${namespace}/replicasets/${name}`,
  Job: (namespace, name) => `/apis/batch/v1/namespaces/${namespace}/jobs/${name}`,
};

const MOST_KNOWN = 2_048;
const MOST_WAITING = 512;
/** An owner does not change, but the right to look at it may come. */
const GUESSED_FOR_MS = 600_000;

interface Known {
  owner: Controller | null;
  until: number;
}

export class Owners {
  /** By path; the oldest first. */
  private readonly known = new Map<string, Known>();
  private readonly waiting = new Map<string, { pod: Pod; controller: Controller }>();
  private working = false;

  /** Without a client owners are told by name. */
  constructor(
    private readonly client: KubernetesClient | null,
    /** More is known of the owners of this pod and of those beside it. */
    private readonly onKnown: () => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** From the pod upwards; null while it is being asked for. */
  of(pod: Pod): Controller[] | null {
    const { controller } = pod;
    if (!controller) return [];
    const path = PATHS[controller.kind]?.(
      encodeURIComponent(pod.namespace),
      encodeURIComponent(controller.name),
    );
    if (path === undefined) return [controller];
    if (!this.client) return chain(controller, ownerByName(pod, controller));
    const known = this.known.get(path);
    if (!known || known.until <= this.now()) this.ask(path, pod, controller);
    return known ? chain(controller, known.owner) : null;
  }

  private ask(path: string, pod: Pod, controller: Controller): void {
    if (this.waiting.size >= MOST_WAITING) return;
    this.waiting.set(path, { pod, controller });
    if (!this.working) void this.work();
  }

  /** One after the other, at the client's rate. */
  private async work(): Promise<void> {
    this.working = true;
    for (const [path, { pod, controller }] of this.waiting) {
      const known = await this.read(path, pod, controller);
      this.waiting.delete(path);
      if (this.client?.closed) break;
      this.known.delete(path);
      this.known.set(path, known);
      if (this.known.size > MOST_KNOWN) this.known.delete(this.known.keys().next().value as string);
      this.onKnown();
    }
    this.working = false;
  }

  /** Where it may not be looked at, or cannot be just now, the name has to do. */
  private async read(path: string, pod: Pod, controller: Controller): Promise<Known> {
    try {
      const object = asObject(await this.client?.get(path));
      return { owner: controllerOf(asObject(object?.['metadata'])), until: Infinity };
    } catch (error) {
      const forbidden = error instanceof StatusError && error.status === 403;
      return {
        owner: ownerByName(pod, controller),
        until: this.now() + (forbidden ? GUESSED_FOR_MS : GUESSED_FOR_MS / 10),
      };
    }
  }
}

const chain = (controller: Controller, owner: Controller | null): Controller[] =>
  owner ? [controller, owner] : [controller];

/**
 * A guess by how Kubernetes names what it makes: a Deployment's ReplicaSet after it and the hash
 * that its pods carry as a label, a CronJob's Job after it and the minute it was due. Wrong only
 * for what somebody else has named in the same way.
 */
export function ownerByName(pod: Pod, { kind, name }: Controller): Controller | null {
  if (kind === 'ReplicaSet') {
    const hash = pod.labels['pod-template-hash'];
    const suffix = `-${hash}`;
    if (!hash || !name.endsWith(suffix) || name === suffix) return null;
    return { kind: 'Deployment', name: name.slice(0, -suffix.length) };
  }
  const cronJob = kind === 'Job' ? /^(.+)-\d{8}$/.exec(name)?.[1] : undefined;
  return cronJob === undefined ? null : { kind: 'CronJob', name: cronJob };
}
