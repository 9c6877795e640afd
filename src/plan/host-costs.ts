/** What tracing costs on this host, by how the kernel carries out the probed instruction. */
import { BootCache } from '../native/boot-cache.js';
import type { Calibration, Features, Native } from '../native/native.js';

/** Nanoseconds of the traced thread. Those of a hit are with an empty program. */
export interface HostCosts {
  /** A hit on an instruction that the kernel emulates inside the breakpoint. */
  emulatedNs: number;
  /** On any other: a second trap. */
  singleSteppedNs: number;
  /** Both ends of a call whose return address is replaced, at an entry that is emulated. */
  trampolineNs: number;
  /** On a ret that our program carries out; null: the kernel does not let it. */
  carriedOutNs: number | null;
  /** At one end of a function of the kernel. */
  kernelProbeNs: number;
  /** Our own programs, above an empty one: at an entry, at a return, what a span adds to both. */
  enterNs: number;
  leaveNs: number;
  spanNs: number;
  /** At an entry whose call is only counted. */
  countNs: number;
  /** Hits on several CPUs do not wait for each other. */
  scalesWithCpus: boolean;
  source: 'measured' | 'cached' | 'assumed';
}

/** By the kernel's count of run times on the machine of docs/benchmarks.md; the traps are the host's. */
const OWN_PROGRAMS = { enterNs: 300, leaveNs: 200, spanNs: 100, countNs: 130 };

/** What is not measured here: kprobe.multi and fentry take as long, kprobes several times that. */
const KERNEL_PROBE_NS = 300;

/** Of a virtual machine, where the dear ways are dearest. */
export const ASSUMED_COSTS: HostCosts = {
  emulatedNs: 1_000,
  singleSteppedNs: 15_000,
  trampolineNs: 2_200,
  carriedOutNs: null,
  kernelProbeNs: KERNEL_PROBE_NS,
  ...OWN_PROGRAMS,
  scalesWithCpus: true,
  source: 'assumed',
};

/** Two threads that hit probes at once are slowed down by no more, where they need not wait. */
const SCALES_WITHIN = 1.25;

/** Nothing that the kernel does for a hit takes longer. */
const LONGEST_NS = 1e7;

const NAME = 'costs';

/** What the kernel does at a hit depends on these. */
type Circumstances = Pick<
  Features,
  'uprobeMulti' | 'uprobeMultiThreads' | 'uprobeSession' | 'writesRegisters' | 'sleepable'
>;

/** Measures once per boot, in some milliseconds, and remembers. Never rejects. */
export async function hostCosts(
  native: Pick<Native, 'calibrate'>,
  features: Features,
  cache = new BootCache(),
): Promise<HostCosts> {
  const known = cache.read(NAME, circumstancesOf(features));
  return isCalibration(known)
    ? costsFrom(known, features, 'cached')
    : measureCosts(native, features, cache);
}

/** Where the host is busy a time may come out as none, or beyond all measure. */
const MOST_TIMES = 3;

/** The same, whatever is remembered. */
export async function measureCosts(
  native: Pick<Native, 'calibrate'>,
  features: Features,
  cache = new BootCache(),
): Promise<HostCosts> {
  const circumstances = circumstancesOf(features);
  for (let times = 0; times < MOST_TIMES; times++) {
    try {
      const measured = await native.calibrate(circumstances);
      if (!isCalibration(measured)) continue;
      cache.write(NAME, circumstances, measured);
      return costsFrom(measured, features, 'measured');
    } catch {
      // Whatever keeps our own code from being probed will be told where others' is.
      break;
    }
  }
  return ASSUMED_COSTS;
}

const circumstancesOf = (features: Features): Circumstances => ({
  uprobeMulti: features.uprobeMulti,
  uprobeMultiThreads: features.uprobeMultiThreads,
  uprobeSession: features.uprobeSession,
  writesRegisters: features.writesRegisters,
  sleepable: features.sleepable,
});

function costsFrom(
  { pushNs, jumpNs, moveNs, returnNs, sessionNs, carriedOutNs, besideNs }: Calibration,
  { uprobeSession }: Features,
  source: HostCosts['source'],
): HostCosts {
  const emulatedNs = (pushNs + jumpNs) / 2;
  return {
    emulatedNs,
    singleSteppedNs: (moveNs + returnNs) / 2,
    trampolineNs: sessionNs ?? ASSUMED_COSTS.trampolineNs,
    carriedOutNs,
    kernelProbeNs: KERNEL_PROBE_NS,
    ...OWN_PROGRAMS,
    // Sites are looked up without a lock since Linux 6.12, and sessions came with 6.13. What two
    // threads on a busy machine show is less sure.
    scalesWithCpus: uprobeSession || besideNs <= pushNs * SCALES_WITHIN,
    source,
  };
}

function isCalibration(value: unknown): value is Calibration {
  if (typeof value !== 'object' || value === null) return false;
  const found = value as Record<keyof Calibration, unknown>;
  const isTime = (each: unknown): boolean =>
    typeof each === 'number' && each > 0 && each < LONGEST_NS;
  const { pushNs, jumpNs, moveNs, returnNs, besideNs, sessionNs, carriedOutNs } = found;
  return (
    [pushNs, jumpNs, moveNs, returnNs, besideNs].every(isTime) &&
    [sessionNs, carriedOutNs].every((each) => each === null || isTime(each))
  );
}
