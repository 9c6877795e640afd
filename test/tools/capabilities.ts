/** Commands run with few rights, as a container that drops capabilities has them. */

/** What tracing needs. */
export const LEAST_CAPABILITIES = ['BPF', 'DAC_READ_SEARCH', 'PERFMON', 'SYS_PTRACE'] as const;

/**
 * What deploy/kubernetes/overlays/least-privilege and the unit of the Debian package grant;
 * manifests.test holds all three together.
 */
export const AGENT_CAPABILITIES = [
  'BPF',
  'DAC_READ_SEARCH',
  'LEASE',
  'PERFMON',
  'SYS_PTRACE',
] as const;

export const NOBODY = 65_534;

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

/** UNDERSPAN_TEST_LEAST=1: every tracer and agent has only the rights that deploy/ gives it. */
export const TESTS_LEAST = process.env['UNDERSPAN_TEST_LEAST'] === '1';
