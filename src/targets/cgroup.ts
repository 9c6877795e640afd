/** What the text of /proc/PID/cgroup tells of containers and pods. */

export interface CgroupPlace {
  /** Ids of the containers that the process is in, from the outermost to its own. */
  containers: string[];
  /** By which the kubelet knows the pod; of a static pod that is a hash of its file. */
  podUid: string | null;
  /** Who made the innermost container, where the name of its control group says it. */
  runtime: 'containerd' | 'cri-o' | 'docker' | null;
}

/** Engines name the control group by 64 hex digits; Amazon's Fargate by 32 and a number. */
const CONTAINER = /^(?:(.*)[-:])?([0-9a-f]{64}|[0-9a-f]{32}-\d{1,20})(?:\.scope)?$/;

/**
 * "pod6f9e….", or at the end of a slice's name "kubepods-burstable-pod6f9e….slice", where the
 * kubelet writes "_" for "-" since that is systemd's separator. Below containerd with another
 * driver than the kubelet's, all of "kubepods-….slice:cri-containerd:ID" is one name.
 */
const POD =
  /(?:^|-)pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?=:|$)/;

const RUNTIMES: [RegExp, NonNullable<CgroupPlace['runtime']>][] = [
  [/(?:^|[-:])(?:cri-containerd|nerdctl)$/, 'containerd'],
  [/(?:^|[-:])crio$/, 'cri-o'],
  [/(?:^|[-:])docker$/, 'docker'],
];

/**
 * There is a line for each hierarchy of version 1 and one for version 2. The first that names a
 * container counts: the others say the same or nothing. An engine's monitor ("crio-conmon-…") is
 * not in the container. Paths that begin with "/.." are of another control group namespace.
 */
export function placeOf(cgroup: string): CgroupPlace {
  for (const line of cgroup.split('\n')) {
    const place = placeIn(line.replace(/^\d+:[^:]*:/, ''));
    if (place.containers.length > 0) return place;
  }
  // A process in a pod but in none of its containers is an engine's own.
  return { containers: [], podUid: null, runtime: null };
}

function placeIn(path: string): CgroupPlace {
  const place: CgroupPlace = { containers: [], podUid: null, runtime: null };
  let parent = '';
  for (const element of path.split('/').map(unescape)) {
    if (element.includes('conmon')) continue;
    place.podUid = POD.exec(element)?.[1]?.replaceAll('_', '-') ?? place.podUid;
    const [, prefix = parent, id] = CONTAINER.exec(element) ?? [];
    if (id !== undefined) {
      place.containers.push(id);
      place.runtime = RUNTIMES.find(([name]) => name.test(prefix))?.[1] ?? null;
    }
    parent = element;
  }
  return place;
}

/** systemd writes what a unit's name may not hold as \xNN. */
const unescape = (element: string): string =>
  element.replace(/\\x([0-9a-f]{2})/g, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  );

/** Id of the innermost container, or null. */
export const containerOf = (cgroup: string): string | null =>
  placeOf(cgroup).containers.at(-1) ?? null;
