import { UnderspanError } from '../errors.js';
import { missingCapabilities, READ_OTHERS } from '../native/host.js';
import { isNativeError } from '../plan/module-errors.js';

const DOCTOR = "'trace doctor' says what this host allows and how to get the rest";

/** A refusal of the kernel, said for its user. The verifier's words stay in `cause`. */
export function kernelError(error: unknown): unknown {
  if (!isNativeError(error)) return error;
  const options = { cause: error };
  switch (error.code) {
    case 'BPF_NOT_PERMITTED':
      return notPermitted(error.message, options);
    case 'BPF_UNSUPPORTED':
      return new UnderspanError('unsupported', error.code, error.message, DOCTOR, options);
    case 'BPF_REFUSED':
      return new UnderspanError(
        'unsupported',
        error.code,
        'the kernel refused a BPF program',
        `--verbose shows the kernel's words; ${DOCTOR}`,
        options,
      );
    case 'ATTACH_FAILED':
      return new UnderspanError(
        error.errno === 3 ? 'not-found' : 'failed',
        error.code,
        error.errno === 3
          ? 'the process ended while probes were being attached'
          : `probes could not be attached: ${error.message}`,
        error.errno === 3 ? undefined : DOCTOR,
        options,
      );
    default:
      return new UnderspanError('failed', error.code, error.message, DOCTOR, options);
  }
}

/** To be called where lack of a right would go unnoticed: who may not look at processes sees none. */
export function requireCapabilities(): void {
  if (missingCapabilities().length > 0) throw notPermitted('');
}

function notPermitted(message: string, options?: ErrorOptions): UnderspanError {
  const missing = missingCapabilities();
  return new UnderspanError(
    'not-permitted',
    'BPF_NOT_PERMITTED',
    missing.length > 0
      ? `this user may not trace: missing ${missing.join(', ')}`
      : `the kernel does not permit this user to load BPF programs: ${message}`,
    `run as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and ${READ_OTHERS}; ${DOCTOR}`,
    options,
  );
}
