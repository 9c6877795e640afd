/** Commands run with few rights, as a container that drops capabilities has them. */

/** What deploy/kubernetes/overlays/least-privilege grants; capabilities.test holds both together. */
export const LEAST_CAPABILITIES = ['BPF', 'DAC_READ_SEARCH', 'PERFMON', 'SYS_PTRACE'] as const;

const NOBODY = 65_534;

export interface Rights {
  capabilities: readonly string[];
  /** Another user is refused what its files' modes say; 0 is so without capabilities only. */
  uid?: number;
}

/** The words that come before a command, so that it has these capabilities and no others. */
export function withRights({ capabilities, uid = NOBODY }: Rights): string[] {
  const set = ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(',');
  return [
    'setpriv',
    ...[`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--no-new-privs'],
    ...[`--bounding-set=${set}`, `--inh-caps=${set}`, `--ambient-caps=${set}`, '--'],
  ];
}
