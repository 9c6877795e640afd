import type { Pods } from './pods.js';

/** Something that keeps the pods of this node as they are. */
export interface PodSource {
  readonly pods: Pods;
  start(): void;
  close(): void;
  /** A process was seen whose pod is not known. */
  missing(): void;
}

export interface SourceEvents {
  /** The pods are others, or other than they were. */
  onChange: () => void;
  /** Why the pods may be out of date; null: they are not any more. */
  onProblem: (problem: string | null) => void;
}
