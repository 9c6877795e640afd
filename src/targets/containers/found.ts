import type { ContainerFacts, PodFacts } from '../workload.js';
import { asText, type JsonObject } from '../json.js';

/** More than any engine writes. */
export const MOST_BYTES = 1_048_576;

/** What an engine's files say of a container. */
export interface Found {
  container: ContainerFacts;
  /** null outside Kubernetes. */
  pod: PodFacts | null;
}

/** Null unless both names are there: neither is of use alone. */
export function podOf(
  texts: JsonObject,
  keys: { name: string; namespace: string; uid: string },
): PodFacts | null {
  const name = asText(texts[keys.name]);
  const namespace = asText(texts[keys.namespace]);
  if (name === null || namespace === null) return null;
  return { name, namespace, uid: asText(texts[keys.uid]), node: null, labels: null, owners: null };
}
