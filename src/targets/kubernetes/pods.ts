import type { Pod, PodContainer } from './pod.js';

/** A node has 110 by default; large ones are set up for several hundred. */
const MOST_PODS = 2_000;

/** The pods of this node. */
export class Pods {
  private readonly byUid = new Map<string, Pod>();
  private readonly byContainer = new Map<string, Pod>();
  private readonly byStaticUid = new Map<string, Pod>();

  constructor(private readonly most = MOST_PODS) {}

  get size(): number {
    return this.byUid.size;
  }

  /** False: there is no room for it. */
  set(pod: Pod): boolean {
    this.delete(pod.uid);
    if (this.byUid.size >= this.most) return false;
    this.byUid.set(pod.uid, pod);
    if (pod.staticUid !== null) this.byStaticUid.set(pod.staticUid, pod);
    for (const { id } of pod.containers) if (id !== null) this.byContainer.set(id, pod);
    return true;
  }

  delete(uid: string): void {
    const pod = this.byUid.get(uid);
    if (!pod) return;
    this.byUid.delete(uid);
    remove(this.byStaticUid, pod.staticUid, pod);
    for (const { id } of pod.containers) remove(this.byContainer, id, pod);
  }

  /** These and no others; false if there is not room for all. */
  replace(pods: readonly Pod[]): boolean {
    this.byUid.clear();
    this.byContainer.clear();
    this.byStaticUid.clear();
    return pods.map((pod) => this.set(pod)).every(Boolean);
  }

  /** Of a process in these containers, from the outermost to its own. */
  find(
    containers: readonly string[],
    uid: string | null,
  ): { pod: Pod; container: PodContainer | null } | null {
    for (const id of [...containers].reverse()) {
      const pod = this.byContainer.get(id);
      if (pod) return { pod, container: pod.containers.find((each) => each.id === id) ?? null };
    }
    // A container has begun before the pod's status says so.
    const pod = uid === null ? undefined : (this.byUid.get(uid) ?? this.byStaticUid.get(uid));
    return pod ? { pod, container: null } : null;
  }
}

/** Unless another pod has taken its place. */
function remove(map: Map<string, Pod>, key: string | null, pod: Pod): void {
  if (key !== null && map.get(key) === pod) map.delete(key);
}
