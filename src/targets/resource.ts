import { basename } from 'node:path';
import type { GoFacts } from '../native/native.js';
import type { ProcessResource } from '../spans/span.js';
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
 * The resource of a process as its environment says it. It is the program's own: nothing is added
 * that its SDK would not have, but the name that the specification demands, the container, and
 * what the sources say. `onDenied` is called if the environment is closed to this user.
 */
export function readResource(
  target: Target,
  procfs = new Procfs(),
  added: ProcessResource['attributes'] = {},
  onDenied?: () => void,
): ProcessResource {
  let environment: ReadonlyMap<string, string> = new Map();
  try {
    environment = procfs.environment(target.pid);
  } catch (error) {
    if (isDenied(error)) onDenied?.();
  }
  const attributes: ProcessResource['attributes'] = environmentAttributes(environment);
  for (const [name, value] of Object.entries(added)) attributes[name] ??= value;
  attributes['service.name'] ??= `unknown_service:${basename(target.argv[0] || target.exe)}`;
  const container = attempt(() => procfs.container(target.pid));
  if (container) attributes['container.id'] ??= container;
  return { attributes };
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

/** The service's name, if the environment gives one. */
export const serviceName = (environment: ReadonlyMap<string, string>): string | undefined =>
  environmentAttributes(environment)['service.name'];

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
