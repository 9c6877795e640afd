/** Empty programs at sites of a process: the least that a probe there can cost. */
import type { Features, Link, Module, Native, Programs } from '../../src/native/native.js';
import { objectPath } from '../../src/session/attachment.js';

export interface FloorSites {
  /** Where the empty program runs. */
  plain: number[];
  /** Where it runs at both ends of the call, by a return address that the kernel replaces. */
  around: number[];
}

export class Floor {
  private constructor(
    private readonly programs: Programs,
    private readonly links: Link[],
  ) {}

  static async attach(
    native: Native,
    features: Features,
    module: Module,
    pid: number,
    { plain, around }: FloorSites,
  ): Promise<Floor> {
    const used = [
      { program: 'nothing', sites: plain },
      { program: 'nothing_around', sites: around },
    ].filter(({ sites }) => sites.length > 0);
    const programs = await native.load({
      object: objectPath('nothing', features),
      attach: features.uprobeMulti ? 'multi' : 'perf',
      sleepable: false,
      programs: used.map(({ program }) => program),
    });
    const links: Link[] = [];
    for (const { program, sites } of used) {
      links.push(
        await programs.attachUprobes(program, {
          path: `/proc/${pid}/exe`,
          pid,
          offsets: Float64Array.from(sites, (address) => fileOffset(module, address)),
          cookies: Float64Array.from(sites, (_, index) => index),
        }),
      );
    }
    return new Floor(programs, links);
  }

  runTimes(): ReturnType<Programs['runTimes']> {
    return this.programs.runTimes();
  }

  async detach(): Promise<void> {
    for (const link of this.links) await link.detach();
    this.programs.close();
  }
}

function fileOffset(module: Module, address: number): number {
  const segment = module.facts.segments.find(
    (each) => address >= each.address && address < each.address + each.fileSize,
  );
  if (!segment) throw new Error(`no code at ${address.toString(16)}`);
  return address - segment.address + segment.offset;
}
