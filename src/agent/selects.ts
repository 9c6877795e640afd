/** From a rule's selection to the question whether a process falls under it. */
import type { Fit, Reach } from '../session/rule.js';
import { ageOf, hasEnded, isKernelThread, type Procfs } from '../targets/procfs.js';
import { serviceName } from '../targets/resource.js';
import type { Target } from '../targets/target.js';
import type { PodFacts, Workloads } from '../targets/workload.js';
import type { SelectConfig } from './config/config.js';
import { compileGlob } from './config/glob.js';

/**
 * How long after its start a process waits for what its pod is known to be, or to publish which
 * service it is, in seconds.
 */
const PATIENCE_S = 30;

export interface Selects {
  fits(pid: number): Fit;
  reach(target: Target): Reach;
}

type Test = (value: string) => boolean;

/** Null where nothing is asked. */
function anyOf(globs: readonly string[]): Test | null {
  if (globs.length === 0) return null;
  const compiled = globs.map(compileGlob);
  return (value) => compiled.some((fits) => fits(value));
}

export function selectsOf(select: SelectConfig, procfs: Procfs, workloads: Workloads): Selects {
  const executable = anyOf(select.executables);
  const command = anyOf(select.commands);
  const service = anyOf(select.services);
  const image = anyOf(select.containerImages);
  const container = anyOf(select.containerNames);
  const namespace = anyOf(select.namespaces);
  const owner = anyOf(select.owners);
  const labels = Object.entries(select.labels).map(
    ([name, glob]) => [name, compileGlob(glob)] as const,
  );
  const asksMore = [command, service, image, container, namespace, owner].some(Boolean);
  const onlyExecutable = executable !== null && !asksMore && labels.length === 0;

  const podFits = (pod: PodFacts | null, age: () => number): Fit => {
    if (!pod) return namespace || owner || labels.length > 0 ? 'no' : 'yes';
    if (namespace && !namespace(pod.namespace)) return 'no';
    const patient = (): Fit => (age() < PATIENCE_S ? 'unknown' : 'no');
    if (labels.length > 0) {
      const { labels: known } = pod;
      if (known === null) return patient();
      if (!labels.every(([name, fits]) => known[name] !== undefined && fits(known[name]))) {
        return 'no';
      }
    }
    if (!owner) return 'yes';
    if (pod.owners === null) return patient();
    return pod.owners.some(({ kind, name }) => owner(`${kind}/${name}`)) ? 'yes' : 'no';
  };

  /** What is cheap to read comes first. Throws what node:fs throws. */
  const judge = (pid: number): Fit => {
    const stat = procfs.stat(pid);
    if (isKernelThread(stat) || hasEnded(stat)) return 'no';
    if (executable && !executable(withoutDeleted(procfs.exe(pid)))) return 'no';
    if (command && !command(procfs.argv(pid).join(' '))) return 'no';
    const age = (): number => ageOf(stat);
    const isService = !service || service(serviceName(pid, procfs) ?? '');
    if (!isService && age() >= PATIENCE_S) return 'no';
    const { container: found, pod } = workloads.of(pid);
    if (image && !(found?.image != null && image(found.image))) return 'no';
    if (container && !(found?.name != null && container(found.name))) return 'no';
    const fit = podFits(pod, age);
    return isService || fit === 'no' ? fit : 'not yet';
  };

  return {
    fits: (pid) => {
      if (pid === process.pid) return 'no';
      try {
        return judge(pid);
      } catch {
        // It has ended, or is closed even to root.
        return 'no';
      }
    },
    reach: ({ exe }) => {
      if (executable && !executable(exe)) return 'none';
      return onlyExecutable ? 'all' : 'some';
    },
  };
}

const withoutDeleted = (exe: string): string => exe.replace(/ \(deleted\)$/, '');
