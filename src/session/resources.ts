/** Whose spans those of each process are: what its SDK says, else its environment. */
import { READ_OTHERS } from '../native/host.js';
import type { ModulePlan } from '../plan/plan.js';
import type { Notice } from '../sinks/sink.js';
import type { TracerRecord } from '../spans/call.js';
import type { ProcessResource } from '../spans/span.js';
import { isDenied, type Procfs } from '../targets/procfs.js';
import { readResource } from '../targets/resource.js';
import { readSdkResource } from '../targets/sdk-resource.js';
import { isRunning, type Target } from '../targets/target.js';

const SDK = 'go.opentelemetry.io/otel/sdk';

/** What every SDK says of itself (semantic conventions, telemetry.sdk.*), by its module version. */
const sdkAttributes = (version: string): Record<string, string> => ({
  'telemetry.sdk.language': 'go',
  'telemetry.sdk.name': 'opentelemetry',
  'telemetry.sdk.version': version.replace(/^v/, ''),
});

export interface ProcessResourcesOptions {
  procfs: Procfs;
  /**
   * The process as it is now, else as it was last known: of an exec that is not followed yet only
   * the kernel knows.
   */
  target: (pid: number) => Target | null;
  /** By identity of the executable. */
  plan: (fileId: string) => ModulePlan | null;
  onNotice: (notice: Notice) => void;
}

export class ProcessResources {
  private readonly known = new Map<number, { fileId: string; resource: ProcessResource }>();
  private denied = false;

  constructor(private readonly options: ProcessResourcesOptions) {}

  /** One object per process, until its SDK says more. */
  of(pid: number): ProcessResource {
    const known = this.known.get(pid);
    if (known) return known.resource;
    const target = this.options.target(pid);
    const resource = target
      ? readResource(target, this.options.procfs, () => this.tellDenied(target))
      : { attributes: {} };
    const sdk = target && this.options.plan(target.fileId)?.module.facts.go?.modules[SDK];
    if (sdk) Object.assign(resource.attributes, sdkAttributes(sdk));
    this.known.set(pid, { fileId: target?.fileId ?? '', resource });
    return resource;
  }

  /** The program's SDK is at work: from now on its provider says whose spans these are. */
  learn({ tgid, tracer }: TracerRecord): void {
    const { onNotice, procfs } = this.options;
    const target = this.options.target(tgid);
    const layout = target && this.options.plan(target.fileId)?.layout.resource;
    if (!layout) return;
    try {
      const attributes = readSdkResource(tgid, tracer, layout);
      this.known.set(tgid, { fileId: target.fileId, resource: { attributes } });
    } catch (error) {
      if (!isRunning(target, procfs)) return;
      if (isDenied(error)) return this.tellDenied(target);
      onNotice({
        code: 'RESOURCE_NOT_READ',
        message: `the resource of process ${tgid} is taken from its environment, since that of its SDK could not be read: ${error instanceof Error ? error.message : String(error)}`,
      });
    }
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
