/** One virtual machine: boots a kernel, hands over what the test in it reports, and ends. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface MachineOptions {
  kernel: string;
  initramfs: string;
  memoryMegabytes: number;
  timeLimitSeconds: number;
}

export interface Outcome {
  /** Lines the test wrote, without those of init. */
  lines: string[];
  /** null: init never came to say it. */
  status: number | null;
  bootSeconds: number | null;
  seconds: number;
  timedOut: boolean;
  console: string;
}

// Emulation, since nested virtualisation is often missing or broken; `max` because node needs more
// than the default processor has. Both processors on one thread: with a thread each, the emulator
// runs stale code of pages that the other has just written, such as the kernel's copies of
// instructions that are to be single-stepped. (With probes of tracefs alone 39 of 40 runs of a
// program crashed, against none of 40.) Five-level page tables only slow emulation down. On a busy
// host the kernel measures the emulated TSC wrong, by several times, and its timers with it.
function qemuArguments(options: MachineOptions, console: string): string[] {
  return [
    ...['-accel', 'tcg,thread=single', '-cpu', 'max,la57=off', '-smp', '2'],
    ...['-m', String(options.memoryMegabytes), '-nodefaults', '-no-reboot', '-display', 'none'],
    ...['-serial', `file:${console}`, '-serial', 'stdio'],
    ...['-kernel', options.kernel, '-initrd', options.initramfs, '-append'],
    'console=ttyS0 quiet loglevel=5 panic=-1 oops=panic mitigations=off random.trust_cpu=on ' +
      'tsc=unstable clocksource=hpet' +
      (process.env['ONLY'] ? ` ONLY=${process.env['ONLY']}` : ''),
  ];
}

export async function runMachine(options: MachineOptions): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), 'underspan-machine-'));
  const consoleFile = join(directory, 'console');
  const started = performance.now();
  const elapsed = (): number => (performance.now() - started) / 1000;
  const outcome: Outcome = {
    lines: [],
    status: null,
    bootSeconds: null,
    seconds: 0,
    timedOut: false,
    console: '',
  };
  const qemu = spawn('qemu-system-x86_64', qemuArguments(options, consoleFile), {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaints = '';
  qemu.stderr.on('data', (text: Buffer) => (complaints += text.toString()));
  const timer = setTimeout(() => {
    outcome.timedOut = true;
    qemu.kill('SIGKILL');
  }, options.timeLimitSeconds * 1000);
  createInterface({ input: qemu.stdout }).on('line', (text) => {
    const line = text.trim();
    const exited = /^exited with status (\d+)$/.exec(line);
    if (line === 'booted') {
      outcome.bootSeconds = elapsed();
    } else if (exited) {
      outcome.status = Number(exited[1]);
    } else if (line !== '') {
      outcome.lines.push(line);
    }
  });
  try {
    await new Promise<void>((resolve, reject) => {
      qemu.once('error', reject);
      qemu.once('close', () => resolve());
    });
    outcome.console = complaints + readFileSync(consoleFile, 'utf8').replaceAll('\r', '');
  } finally {
    clearTimeout(timer);
    rmSync(directory, { recursive: true, force: true });
  }
  outcome.seconds = elapsed();
  return outcome;
}
