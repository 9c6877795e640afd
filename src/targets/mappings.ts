import { readFileSync } from 'node:fs';

/** One line of /proc/PID/maps. */
export interface Mapping {
  start: bigint;
  end: bigint;
  /** Such as "r-xp". */
  permissions: string;
  /** Where in the file it begins. */
  offset: number;
  /** "0": no file. */
  inode: string;
  /** The file's path as the process has it, " (deleted)" and all; or a name such as "[heap]". */
  name: string;
}

/** Those whose line has the text in it. Throws what node:fs throws. */
export function readMappings(path: string, text = ''): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const mapping = line.includes(text) ? parseMapping(line) : null;
    if (mapping) mappings.push(mapping);
  }
  return mappings;
}

function parseMapping(line: string): Mapping | null {
  const fields =
    /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) [0-9a-f]+:[0-9a-f]+ (\d+) *(.*)$/.exec(line);
  if (!fields) return null;
  const [, start, end, permissions = '', offset = '', inode = '', name = ''] = fields;
  return {
    start: BigInt(`0x${start}`),
    end: BigInt(`0x${end}`),
    permissions,
    offset: parseInt(offset, 16),
    inode,
    // The kernel writes a newline in a path as \012.
    name: name.replaceAll('\\012', '\n'),
  };
}
