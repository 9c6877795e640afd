/** Where a process runs, as far as containers and Kubernetes tell it. */
import type { ResourceValue } from '../spans/span.js';

export interface Workload {
  container: ContainerFacts | null;
  pod: PodFacts | null;
}

export interface ContainerFacts {
  id: string;
  runtime: 'containerd' | 'cri-o' | 'docker' | 'unknown';
  /** As it was asked for, such as "registry.example/shop:1.2"; null where it is not known. */
  image: string | null;
  /** In Kubernetes that of the pod's specification. */
  name: string | null;
}

export interface PodFacts {
  name: string;
  namespace: string;
  uid: string | null;
  node: string | null;
  /** null: not known yet, or no source to ask. */
  labels: Record<string, string> | null;
  /** Controllers from the pod upwards: a Deployment's ReplicaSet, then the Deployment. */
  owners: { kind: string; name: string }[] | null;
}

export interface Workloads {
  /** What is known now. Reads files, asks nobody; never throws. */
  of(pid: number): Workload;
  /** Attributes of the resource: container.*, k8s.*. */
  attributes(pid: number): Record<string, ResourceValue>;
  /** Called with container ids of which more is known than of() last said; returns what ends it. */
  onChange(listener: (containerIds: ReadonlySet<string>) => void): () => void;
  /** Begins to ask, as far as there is a source. */
  start(): void;
  close(): void;
}
