/**
 * A shell that outlives this process, however it ends, and then lets go whoever it held. Others may
 * hold processes too, so it is told who is ours.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';

/** How long the kernel goes on holding when nothing is heard of this process. */
export const HOLD_NS = 1_000_000_000n;
const HOLD_SECONDS = Number(HOLD_NS / 1_000_000_000n);
/** Who is not let go for so long by one that lives is most likely held by the one that died. */
const UNKNOWN_SECONDS = 3;

/**
 * Keeps the last whole line of who is held, `PID:START…`, until this process is gone; the line
 * "done" ends it. Then it looks for who is stopped inside an exec: what is stopped for another
 * reason is in another system call, or in none. Whom it knows it lets go, once: what the same
 * process executes later may be held by another. It looks again until the kernel cannot hold any
 * more, for who has just been told to stop may not have stopped yet.
 *
 * Whom it does not know, the kernel stopped in the last moments, or another holds. So it waits, and
 * lets go who has been stopped all the while; another one whose probes take longer just then loses
 * calls. The shell has nothing to sleep with, and looks at these alone until none is left.
 *
 * All by what the shell has built in, as another program would be held itself.
 */
const GUARD = `
calls=" $* "
held=
gone=' '
while IFS= read -r line; do
  [ "$line" = done ] && exit
  held=" $line "
done

among() { case "$2" in *" $1 "*) ;; *) return 1 ;; esac }
stopped() {
  read -r call _ <"/proc/$1/syscall" || return
  among "$call" "$calls" || return
  IFS= read -r stat <"/proc/$1/stat" || return
  set -- "$1" \${stat##*) }
  id=$1:\${21}
  [ "$2" = T ]
} 2>/dev/null

read -r now _ </proc/uptime
end=$((\${now%.*} + ${HOLD_SECONDS + 1}))
while
  read -r now _ </proc/uptime
  unknown=
  for d in /proc/[0-9]*; do
    stopped "\${d#/proc/}" || continue
    if among "$id" "$held" && ! among "$id" "$gone"; then
      kill -CONT "\${id%:*}"
      gone="$gone$id "
    else
      unknown="$unknown $id"
    fi
  done
  [ "\${now%.*}" -lt "$end" ]
do :; done

end=$((end + ${UNKNOWN_SECONDS}))
while [ -n "$unknown" ]; do
  read -r now _ </proc/uptime
  still=
  for was in $unknown; do
    stopped "\${was%:*}" && [ "$id" = "$was" ] && still="$still $was"
  done
  unknown=$still
  [ "\${now%.*}" -lt "$end" ] || break
done
for was in $unknown; do kill -CONT "\${was%:*}"; done`;

const SHELL = '/bin/sh';

/** Whether there is a shell to let go who is held. An image may have none. */
export function hasGuard(): boolean {
  try {
    accessSync(SHELL, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** As the guard names a process: not another one that has its pid later. */
export const guardedId = (pid: number, startTime: number): string => `${pid}:${startTime}`;

export interface HoldGuardOptions {
  /** System calls in which a process is that was stopped at its exec. */
  execCalls: readonly number[];
  /** Who is held now, as `guardedId` says. */
  held: () => readonly string[];
  /** It has ended, or never began; also when it was told to. */
  onEnd: (why: string) => void;
}

export class HoldGuard {
  private readonly shell: ChildProcess;
  private writing = false;
  private stale = false;

  constructor(private readonly options: HoldGuardOptions) {
    const { execCalls, onEnd } = options;
    // Of its own session, so that a signal to ours does not end it.
    this.shell = spawn(SHELL, ['-c', GUARD, 'sh', ...execCalls.map(String)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.shell.unref();
    this.shell.on('error', ({ message }) => onEnd(message));
    this.shell.on('exit', () => onEnd('it has ended'));
    // There is none where no descriptor was left for it.
    this.shell.stdin?.on('error', () => undefined);
  }

  /** Who is held has changed. A guard that does not read is not written to: it hears the last. */
  tell(): void {
    if (this.writing) {
      this.stale = true;
      return;
    }
    this.writing = true;
    this.stale = false;
    this.shell.stdin?.write(`${this.options.held().join(' ')}\n`, (error) => {
      this.writing = false;
      if (this.stale && !error) this.tell();
    });
  }

  /** It lets go nobody. */
  end(): void {
    this.shell.stdin?.end('done\n');
  }
}
