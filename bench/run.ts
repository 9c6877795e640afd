/**
 * Measures what is published, and writes docs/benchmarks.md.
 *
 *     node dist/bench/run.js [SECTION]…
 *
 * Sections that are not named stay as they are.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { attachTable, measureAttaching } from './attach.js';
import { measureCalls } from './calls.js';
import { measureDecoding } from './decode.js';
import { exportTable, measureExport } from './export.js';
import { measureGoCalls } from './go-calls.js';
import { measureGovernor } from './governor.js';
import { measureNativeCalls } from './native-calls.js';
import { measureOwnTime } from './own-time.js';
import { type Section, writePage } from './page.js';
import { measureParts, partsTable } from './parts.js';
import { measured } from './reach.js';
import type { Spread } from './tools/rounds.js';
import { range, whole } from './tools/text.js';
import { measureService } from './service.js';
import { measureStall } from './stall.js';
import { measureFootprint, measureStartUp } from './start-up.js';
import { measureTransports } from './transport.js';

interface Cost {
  what: string;
  addedNs: Spread;
}

const costTable = (costs: readonly Cost[]): string => `| what | ns a call |
|---|---|
${costs.map(({ what, addedNs }) => `| ${what} | ${range(addedNs)} |`).join('\n')}
`;

const SECTIONS: Record<string, Section> = {
  'native-calls': {
    title: 'A call of a C program',
    measure: async () => {
      const { costs, found } = await measureNativeCalls();
      return {
        text: `A function of a plain C program that is compiled with CET and frame pointers, and does next to nothing: nanoseconds of the calling thread's CPU time that tracing adds to each call.\n\n${costTable(costs)}`,
        found,
      };
    },
  },
  'own-time': {
    title: 'Our own programs',
    measure: async () => ({ text: '', found: await measureOwnTime() }),
  },
  'go-calls': {
    title: 'A call of a Go program',
    measure: async () => {
      const { costs, found } = await measureGoCalls();
      return {
        text: `A Go function with a frame that does next to nothing: nanoseconds of the calling thread's CPU time that tracing adds to each call.\n\n${costTable(costs)}`,
        found,
      };
    },
  },
  attach: {
    title: 'Attaching and detaching',
    measure: async () => {
      const { times, found } = await measureAttaching();
      return {
        text: `Entry and return of functions of a C program, by commands: seconds from the start to what says that it is attached, and from Ctrl-C to the end. Each peer on the largest list that it manages within two minutes.\n\n${attachTable(times)}`,
        found,
      };
    },
  },
  'start-up': {
    title: 'Start-up',
    measure: async () => ({ text: '', found: await measureStartUp() }),
  },
  footprint: {
    title: 'Footprint',
    measure: async () => ({ text: '', found: await measureFootprint() }),
  },
  stall: {
    title: 'Stalls',
    measure: async () => ({ text: '', found: await measureStall() }),
  },
  service: {
    title: 'A service under load',
    measure: async () => ({ text: '', found: await measureService() }),
  },
  parts: {
    title: 'What each part costs a service',
    measure: async () => {
      const { parts, found } = await measureParts();
      return {
        text: `A Go HTTP service at a quarter of what one CPU can do, ten traced calls a request, without a budget: what tracing takes more than nothing, in % of a CPU, and what its slowest requests notice.\n\n${partsTable(parts)}`,
        found,
      };
    },
  },
  governor: {
    title: 'The governor',
    measure: async () => ({ text: '', found: await measureGovernor() }),
  },
  calls: {
    title: 'What tracing adds to a call',
    measure: async () => {
      const costs = (await measureCalls()).map(({ what, addedNs, leastNs, mostNs }) => ({
        what,
        addedNs: { median: addedNs, least: leastNs, most: mostNs },
      }));
      return {
        text: `\`main.tick\` of the sample service, which does nothing but count, called by one goroutine: nanoseconds added to each call, median (least to most) of several rounds, each against an untraced round just before it. The return instruction is single-stepped by the kernel, which is dear on a virtual machine.\n\n${costTable(costs)}`,
        found: {},
      };
    },
  },
  export: {
    title: 'From records to a Collector',
    measure: async () => {
      const { runs, found } = await measureExport();
      return {
        text: `Records given to the engine at a fixed rate, in trees of eight calls, and exported by OTLP/gRPC to a Collector on the same machine; a row for each rate, up to the first that could not be kept.\n\n${exportTable(runs)}`,
        found,
      };
    },
  },
  transport: { title: 'Ring or perf buffers', measure: transport },
  decode: {
    title: 'From records to spans',
    measure: () => {
      const rates = measureDecoding();
      const rows = rates.map(({ size, perSecond }) => `| ${size} | ${whole(perSecond)} |`);
      const least = Math.min(...rates.map(({ perSecond }) => perSecond));
      return Promise.resolve({
        text: `One core, from a batch of records to span objects with attributes.

| trees of | calls a second |
|---|---|
${rows.join('\n')}
`,
        found: { decoded: measured('decoded', least, `${whole(least)}/s`) },
      });
    },
  },
};

async function transport(): ReturnType<Section['measure']> {
  const rows = (await measureTransports()).map(
    ({ producers, transport, silentNs, recordNs, perSecond, lostShare }) =>
      `| ${producers} | ${transport} | ${range(silentNs)} | ${range(recordNs)} | ${whole(perSecond)} | ${(lostShare * 100).toFixed(1)} % |`,
  );
  return {
    text: `\`main.tick\` again, called by several goroutines at once: nanoseconds that the program at its return runs, by the kernel's own count, median (least to most) of several rounds in turn, where the call sends no record and where it does; and the records that arrived. Buffers of 64 MiB.

| goroutines | transport | ns without a record | ns with | records a second | lost |
|---|---|---|---|---|---|
${rows.join('\n')}
`,
    found: {},
  };
}

const SELF = fileURLToPath(import.meta.url);
const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(SECTIONS, name));
if (unknown !== undefined) {
  throw new Error(`no section '${unknown}'; there are ${Object.keys(SECTIONS).join(', ')}`);
}
const names = wanted.length > 0 ? wanted : Object.keys(SECTIONS);
if (names.length === 1) await writePage(SECTIONS, names);
// Each in a process of its own: what one has compiled and allocated is no burden to the next.
else for (const name of names) await run(name);

async function run(name: string): Promise<void> {
  const child = spawn(process.execPath, [...process.execArgv, SELF, name], { stdio: 'inherit' });
  const [status] = (await once(child, 'exit')) as [number | null];
  if (status !== 0) process.exitCode = 1;
}
