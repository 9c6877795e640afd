/** Whose spans those of each process are: what its SDK says, or it publishes, or its environment. */
import { READ_OTHERS } from '../native/host.js';
import type { GoFacts } from '../native/native.js';
import type { ModulePlan } from '../plan/plan.js';
import type { Notice } from '../sinks/sink.js';
import type { TracerRecord } from '../spans/call.js';
import type { ProcessResource } from '../spans/span.js';
import { type ProcessContext, readProcessContext } from '../targets/process-context.js';
import { isDenied, isGone, type Procfs } from '../targets/procfs.js';
import { addedAttributes, readResource, type ResourceSources } from '../targets/resource.js';
import { readSdkResource } from '../targets/sdk-resource.js';
import { isRunning, type Target } from '../targets/target.js';

const SDK = 'go.opentelemetry.io/otel/sdk';

/** What every SDK says of itself (semantic conventions, telemetry.sdk.*), by its module version. */
const sdkAttributes = (version: string): Record<string, string> => ({
  'telemetry.sdk.language': 'go',
  'telemetry.sdk.name': 'opentelemetry',
  'telemetry.sdk.version': version.replace(/^v/, ''),
});

export interface ProcessResourcesOptions extends ResourceSources {
  procfs: Procfs;
  /**
   * The process as it is now, else as it was last known: of an exec that is not followed yet only
   * the kernel knows.
   */
  target: (pid: number) => Target | null;
  /** By identity of the executable. */
  plan: (fileId: string) => ModulePlan | null;
  onNotice: (notice: Notice) => void;
  /** A clock in ms; default is that of the host. */
  now?: () => number;
}

/** How often it is looked whether a process publishes anything, or something else, in ms. */
const LOOK_FIRST_MS = 1_000;
const LOOK_AT_LEAST_MS = 60_000;

interface Known {
  fileId: string;
  resource: ProcessResource;
  /** What the program's SDK holds; null: it has not been read. */
  sdk: ProcessResource['attributes'] | null;
  /** What the process publishes; null: nothing yet. */
  published: ProcessContext | null;
  /** When to look again, on the clock of `now`, and how long it was waited for that. */
  lookAt: number;
  waitedMs: number;
}

export class ProcessResources {
  private readonly known = new Map<number, Known>();
  private readonly unsubscribe: (() => void) | undefined;
  private denied = false;

  constructor(private readonly options: ProcessResourcesOptions) {
    this.unsubscribe = options.workloads?.onChange((ids) => this.refresh(ids));
  }

  /** One object per process, until it says more of itself, or more is known of where it runs. */
  of(pid: number): ProcessResource {
    const known = this.known.get(pid);
    if (known) {
      if (!known.sdk && this.now() >= known.lookAt) this.lookAgain(pid, known);
      return known.resource;
    }
    const target = this.options.target(pid);
    const published = target && this.publishedBy(pid, null);
    const resource = target ? this.withoutSdk(target, published) : { attributes: {} };
    this.known.set(pid, {
      fileId: target?.fileId ?? '',
      resource,
      sdk: null,
      published,
      lookAt: this.now() + LOOK_FIRST_MS,
      waitedMs: LOOK_FIRST_MS,
    });
    return resource;
  }

  private now(): number {
    return this.options.now?.() ?? performance.now();
  }

  /** A process may publish at any time, and change what it publishes. */
  private lookAgain(pid: number, known: Known): void {
    known.waitedMs = Math.min(2 * known.waitedMs, LOOK_AT_LEAST_MS);
    known.lookAt = this.now() + known.waitedMs;
    const target = this.options.target(pid);
    if (target?.fileId !== known.fileId) return;
    const published = this.publishedBy(pid, known.published);
    // What it has withdrawn it still is.
    if (!published || published === known.published) return;
    known.published = published;
    known.resource = this.withoutSdk(target, published);
  }

  /** What cannot be read, since the process is gone or foreign, is not published. */
  private publishedBy(pid: number, last: ProcessContext | null): ProcessContext | null {
    try {
      return readProcessContext(pid, this.options.procfs, last);
    } catch {
      return last;
    }
  }

  /** The program's SDK is at work: from now on its provider says whose spans these are. */
  learn({ tgid, tracer }: TracerRecord): void {
    const { onNotice, procfs } = this.options;
    const target = this.options.target(tgid);
    const layout = target && this.options.plan(target.fileId)?.layout?.resource;
    if (!layout) return;
    try {
      const sdk = readSdkResource(tgid, tracer, layout);
      const resource = { attributes: { ...this.added(target), ...sdk } };
      this.known.set(tgid, {
        fileId: target.fileId,
        resource,
        sdk,
        published: null,
        lookAt: Infinity,
        waitedMs: 0,
      });
    } catch (error) {
      if (isGone(error) || !isRunning(target, procfs)) return;
      if (isDenied(error)) return this.tellDenied(target);
      onNotice({
        code: 'RESOURCE_NOT_READ',
        message: `the resource of process ${tgid} is taken from its environment, since that of its SDK could not be read: ${error instanceof Error ? error.message : String(error)}`,
      });
    }
  }

  private withoutSdk(target: Target, published: ProcessContext | null): ProcessResource {
    const resource = readResource(
      target,
      this.options.procfs,
      this.added(target),
      () => this.tellDenied(target),
      published,
    );
    const sdk = this.go(target)?.modules[SDK];
    const { attributes } = resource;
    if (sdk)
      resource.attributes = { ...attributes, ...sdkAttributes(sdk), ...published?.attributes };
    return resource;
  }

  private added(target: Target): ProcessResource['attributes'] {
    return addedAttributes(target, this.go(target), this.options);
  }

  private go(target: Target): GoFacts | null {
    return this.options.plan(target.fileId)?.module.facts.go ?? null;
  }

  /** More is known of these containers. What the program said of itself stays. */
  private refresh(containerIds: ReadonlySet<string>): void {
    for (const [pid, known] of this.known) {
      const id = this.options.workloads?.of(pid).container?.id;
      const target = id !== undefined && containerIds.has(id) ? this.options.target(pid) : null;
      if (target?.fileId !== known.fileId) continue;
      known.resource = known.sdk
        ? { attributes: { ...this.added(target), ...known.sdk } }
        : this.withoutSdk(target, known.published);
    }
  }

  /** Nothing more is heard of workloads. */
  close(): void {
    this.unsubscribe?.();
  }

  /** Once: what holds for one process of another user holds for all of them. */
  private tellDenied({ pid, comm }: Target): void {
    if (this.denied) return;
    this.denied = true;
    this.options.onNotice({
      code: 'RESOURCE_NOT_PERMITTED',
      message: `whose spans those of process ${pid} (${comm}) are is not known: its environment and memory are closed to this user`,
      hint: `run as root, or with ${READ_OTHERS}`,
    });
  }

  /** The process runs another program now, or none. */
  delete(pid: number): void {
    this.known.delete(pid);
  }

  /** The same, unless what is known is of that program already. */
  keepFor(pid: number, fileId: string): void {
    if (this.known.get(pid)?.fileId !== fileId) this.known.delete(pid);
  }
}
