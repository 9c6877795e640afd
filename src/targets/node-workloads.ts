/** Where the processes of this node run: by control groups, engines' files and Kubernetes. */
import type { Notice } from '../sinks/sink.js';
import type { ResourceValue } from '../spans/span.js';
import type { CgroupPlace } from './cgroup.js';
import { Containers, hostRoot } from './containers/containers.js';
import { Kubernetes, type KubernetesTuning } from './kubernetes/kubernetes.js';
import { kubernetesSettings, type KubernetesOptions } from './kubernetes/settings.js';
import { Procfs } from './procfs.js';
import { workloadAttributes } from './workload-attributes.js';
import type { Workload, Workloads } from './workload.js';

/** Containers about which somebody may have to be told more. */
const MOST_ASKED = 4_096;

/** Of a process, up to its container's engine. */
const MOST_PARENTS = 32;

export interface NodeWorkloadsOptions {
  procfs?: Procfs;
  /** Root directory in which the engines' files are; by default the host's. */
  root?: string;
  /** Without it nothing is asked. */
  kubernetes?: KubernetesOptions;
  onNotice?: (notice: Notice) => void;
  tuning?: KubernetesTuning;
}

/** A workload, and what only its attributes need. */
export interface DetailedWorkload extends Workload {
  podUid: string | null;
  /** As the pod's specification has it; null also where the pod's container holds others. */
  podContainer: string | null;
  /** Attributes that the pod's annotations ask for. */
  resource: Record<string, string>;
}

const NOWHERE: DetailedWorkload = {
  container: null,
  pod: null,
  podUid: null,
  podContainer: null,
  resource: {},
};

export class NodeWorkloads implements Workloads {
  private readonly procfs: Procfs;
  private readonly containers: Containers;
  private readonly kubernetes: Kubernetes | null;
  private readonly listeners = new Set<(containerIds: ReadonlySet<string>) => void>();
  /** What was last said of a container, by id; the least recently asked first. */
  private readonly asked = new Map<string, { place: CgroupPlace; said: string }>();
  private telling = false;
  private closed = false;

  /** Throws an UnderspanError where Kubernetes is asked for and cannot be found. */
  constructor(options: NodeWorkloadsOptions = {}) {
    const { procfs = new Procfs(), onNotice = () => undefined, kubernetes } = options;
    this.procfs = procfs;
    this.containers = new Containers(options.root ?? hostRoot(procfs.root));
    const settings = kubernetes ? kubernetesSettings(kubernetes) : null;
    this.kubernetes =
      settings && new Kubernetes(settings, onNotice, () => this.changed(), options.tuning);
  }

  of(pid: number): Workload {
    const { container, pod } = this.details(pid);
    return { container, pod };
  }

  attributes(pid: number): Record<string, ResourceValue> {
    return workloadAttributes(this.details(pid));
  }

  onChange(listener: (containerIds: ReadonlySet<string>) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  start(): void {
    this.kubernetes?.start();
  }

  close(): void {
    this.closed = true;
    this.kubernetes?.close();
    this.listeners.clear();
  }

  private details(pid: number): DetailedWorkload {
    let place: CgroupPlace;
    try {
      place = this.procfs.cgroup(pid);
    } catch {
      return NOWHERE;
    }
    const id = place.containers.at(-1);
    if (id === undefined) return NOWHERE;
    const details = this.look(place, pid);
    const isNew = !this.asked.delete(id);
    this.asked.set(id, { place, said: JSON.stringify(details) });
    if (this.asked.size > MOST_ASKED) this.asked.delete(this.asked.keys().next().value as string);
    if (isNew && details.podUid !== null && details.pod?.labels == null) this.kubernetes?.missing();
    return details;
  }

  private look(place: CgroupPlace, pid: number | null = null): DetailedWorkload {
    const innermost = place.containers.length - 1;
    const found = place.containers.map((id, index) =>
      // What the control group and the process say is of the innermost one.
      index === innermost
        ? this.containers.of(id, place.runtime, () => this.rootAround(pid, place))
        : this.containers.of(id, null),
    );
    const own = found.at(-1);
    if (!own) return NOWHERE;
    const inPod = found.findLast(({ pod }) => pod !== null);
    const uid = place.podUid ?? inPod?.pod?.uid ?? null;
    const known = this.kubernetes?.find(place.containers, uid) ?? null;
    const ofPod = known?.container?.id === own.container.id ? known.container : null;
    const podContainer = known?.container?.name ?? inPod?.container.name ?? null;
    return {
      container: {
        ...own.container,
        image: own.container.image ?? ofPod?.image ?? null,
        name: own.container.name ?? ofPod?.name ?? null,
      },
      pod: known?.facts ?? inPod?.pod ?? null,
      podUid: known?.facts.uid ?? uid,
      podContainer,
      resource: known?.resource ?? {},
    };
  }

  /**
   * An engine in a container, as in a node of kind, has its files there. They are seen as the first
   * process up the line sees them that is in the containers around this one: the engine's shim.
   */
  private rootAround(pid: number | null, { containers }: CgroupPlace): string | null {
    if (pid === null || containers.length < 2) return null;
    try {
      for (let at = pid, hops = 0; hops < MOST_PARENTS; hops++) {
        at = this.procfs.stat(at).parent;
        const around = this.procfs.cgroup(at).containers;
        const fits = around.length === containers.length - 1;
        if (fits && around.every((id, index) => id === containers[index])) {
          return this.procfs.path(at, 'root');
        }
      }
    } catch {
      // No such parent, or one that may not be looked at.
    }
    return null;
  }

  /** Changes come in bursts: what they come to is told once. */
  private changed(): void {
    if (this.telling) return;
    this.telling = true;
    setImmediate(() => {
      this.telling = false;
      if (!this.closed) this.tell();
    });
  }

  private tell(): void {
    const ids = new Set<string>();
    for (const [id, asked] of this.asked) {
      const now = JSON.stringify(this.look(asked.place));
      if (now !== asked.said) ids.add(id);
      asked.said = now;
    }
    if (ids.size === 0) return;
    for (const listener of this.listeners) listener(ids);
  }
}
