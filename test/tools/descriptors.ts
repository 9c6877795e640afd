import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Descriptors {
  all: number;
  programs: number;
  maps: number;
  links: number;
}

/** What a process has open, BPF objects apart. */
export function descriptorsOf(pid: number): Descriptors {
  const folder = `/proc/${pid}/fdinfo`;
  const found: Descriptors = { all: 0, programs: 0, maps: 0, links: 0 };
  for (const name of readdirSync(folder)) {
    let info: string;
    try {
      info = readFileSync(join(folder, name), 'utf8');
    } catch {
      continue; // Closed meanwhile.
    }
    found.all++;
    if (/^link_type:/m.test(info)) found.links++;
    else if (/^prog_id:/m.test(info)) found.programs++;
    else if (/^map_id:/m.test(info)) found.maps++;
  }
  return found;
}
