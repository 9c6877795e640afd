/**
 * Where the runtime of each Go version keeps what is read of it, for programs without DWARF. Rows
 * come from the DWARF of programs that each version built; a test builds them anew.
 */
export interface GoVersion {
  /** Go 1.MINOR. */
  minor: number;
  /** In runtime.g. */
  goid: number;
  labels: number;
  /** In runtime.m. */
  curg: number;
  /** In net/http.Request. */
  requestContext: number;
}

export const OLDEST_MINOR = 18;

const row = (
  minor: number,
  goid: number,
  labels: number,
  curg: number,
  requestContext: number,
): GoVersion => ({ minor, goid, labels, curg, requestContext });

export const GO_VERSIONS: readonly GoVersion[] = [
  row(18, 152, 360, 192, 232),
  row(19, 152, 360, 192, 232),
  row(20, 152, 360, 192, 232),
  row(21, 152, 344, 192, 232),
  row(22, 152, 344, 192, 232),
  row(23, 160, 352, 192, 248),
  row(24, 160, 352, 192, 248),
  row(25, 152, 344, 184, 248),
  row(26, 152, 352, 184, 248),
  row(27, 152, 352, 184, 248),
];

/** The first whose labels are a slice, and no map. */
export const LABELS_AS_SLICE = 24;

/** "go1.26.8" → 26; null for what is no release, such as "devel +0123abc". */
export function goMinor(version: string): number | null {
  const found = /\bgo1\.(\d+)/.exec(version);
  return found ? Number(found[1]) : null;
}

/** Null for a version that no row is known of. */
export function goVersion(minor: number): GoVersion | null {
  return GO_VERSIONS.find((version) => version.minor === minor) ?? null;
}
