import { basename } from 'node:path';
import type { GoFacts } from '../native/native.js';
import type { ProcessResource } from '../spans/span.js';
import { type ProcessContext, readProcessContext } from './process-context.js';
import { isDenied, Procfs } from './procfs.js';
import type { Target } from './target.js';
import type { Workloads } from './workload.js';

/** What an agent adds to what the program says of itself. */
export interface ResourceSources {
  /** Where the process runs. */
  workloads?: Workloads;
  /** Adds process.executable.* and process.runtime.*. */
  processAttributes?: boolean;
}

/**
 * The resource of a process as it publishes it, else as its environment says it. It is the program's
 * own: nothing is added that its SDK would not have, but the name that the specification demands,
 * the container, and what the sources say. `onDenied` is called if the environment is closed to this
 * user.
 */
export function readResource(
  target: Target,
  procfs = new Procfs(),
  added: ProcessResource['attributes'] = {},
  onDenied?: () => void,
  published: ProcessContext | null = null,
): ProcessResource {
  const attributes = publishedAttributes(published) ?? readEnvironment(target, procfs, onDenied);
  for (const [name, value] of Object.entries(added)) attributes[name] ??= value;
  attributes['service.name'] ??= `unknown_service:${basename(target.argv[0] || target.exe)}`;
  const container = attempt(() => procfs.container(target.pid));
  if (container) attributes['container.id'] ??= container;
  return { attributes };
}

/** What an SDK publishes is all that it has; a program may also publish other things only. */
const publishedAttributes = (
  published: ProcessContext | null,
): ProcessResource['attributes'] | null =>
  published && Object.keys(published.attributes).length > 0 ? { ...published.attributes } : null;

function readEnvironment(
  target: Target,
  procfs: Procfs,
  onDenied?: () => void,
): ProcessResource['attributes'] {
  try {
    return environmentAttributes(procfs.environment(target.pid));
  } catch (error) {
    if (isDenied(error)) onDenied?.();
    return {};
  }
}

/** What the sources say of a process; it never replaces what the program says. */
export function addedAttributes(
  target: Target,
  go: GoFacts | null,
  { workloads, processAttributes = false }: ResourceSources,
): ProcessResource['attributes'] {
  return {
    ...workloads?.attributes(target.pid),
    ...(processAttributes && {
      'process.executable.name': basename(target.exe),
      'process.executable.path': target.exe,
      ...(go && { 'process.runtime.name': 'go' }),
      ...(go?.version && { 'process.runtime.version': go.version }),
    }),
  };
}

/** The service's name, if the process publishes one or its environment gives it. Throws what node:fs throws. */
export function serviceName(pid: number, procfs: Procfs): string | undefined {
  const published = attempt(() => readProcessContext(pid, procfs))?.attributes['service.name'];
  if (typeof published === 'string') return published;
  return environmentAttributes(procfs.environment(pid))['service.name'];
}

/** OTEL_RESOURCE_ATTRIBUTES, and OTEL_SERVICE_NAME, which beats it. */
function environmentAttributes(environment: ReadonlyMap<string, string>): Record<string, string> {
  const attributes = parseAttributes(environment.get('OTEL_RESOURCE_ATTRIBUTES') ?? '');
  const service = environment.get('OTEL_SERVICE_NAME')?.trim();
  if (service) attributes['service.name'] = service;
  return attributes;
}

/** Lenient in the way of the Go SDK: a broken pair is left out, a broken escape is kept as it is. */
export function parseAttributes(text: string): Record<string, string> {
  // Without a prototype: the names are the program's, and one may be "__proto__".
  const attributes = Object.create(null) as Record<string, string>;
  for (const pair of text.split(',')) {
    const equals = pair.indexOf('=');
    const name = pair.slice(0, equals).trim();
    if (equals < 0 || name === '') continue;
    const value = pair.slice(equals + 1).trim();
    attributes[name] = attempt(() => decodeURIComponent(value)) ?? value;
  }
  return attributes;
}

/** What cannot be read, because the process is gone or foreign, is not known. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
