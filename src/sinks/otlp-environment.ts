/**
 * What OTEL_EXPORTER_OTLP_* say, as far as it must be known or can be wrong. The OpenTelemetry
 * packages read all of them, but pass over what makes no sense without a word: an unreadable
 * certificate would show as a handshake that fails.
 */
import { accessSync, constants } from 'node:fs';
import { UnderspanError } from '../errors.js';

export type OtlpProtocol = 'grpc' | 'http/protobuf';

interface Variable {
  name: string;
  value: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws UnderspanError where neither is a protocol that is spoken here. */
export function chooseProtocol(option: string | null, env: Environment): OtlpProtocol {
  const variable = option === null ? variableOf('PROTOCOL', env) : null;
  const protocol = option ?? variable?.value ?? 'grpc';
  if (protocol === 'grpc' || protocol === 'http/protobuf') return protocol;
  throw wrong(
    'otlp-protocol',
    `${variable ? `${variable.name} is` : 'the OTLP protocol is'} ${JSON.stringify(protocol)}, which is not spoken here`,
    'use grpc (usually port 4317) or http/protobuf (usually port 4318)',
  );
}

/** Throws UnderspanError if the endpoint is no URL, or another setting could not be followed. */
export function checkSettings(
  endpoint: string | null,
  protocol: OtlpProtocol,
  env: Environment,
): void {
  const variable = endpoint === null ? variableOf('ENDPOINT', env) : null;
  const url = endpoint ?? variable?.value;
  if (url !== undefined) checkEndpoint(url, protocol, variable?.name ?? null);
  const timeout = variableOf('TIMEOUT', env);
  if (timeout && !(Number(timeout.value) > 0)) {
    throw wrong('otlp-timeout', `${timeout.name} is ${timeout.value}`, 'write milliseconds');
  }
  const compression = variableOf('COMPRESSION', env);
  if (compression && compression.value !== 'none' && compression.value !== 'gzip') {
    throw wrong(
      'otlp-compression',
      `${compression.name} is ${compression.value}`,
      'use gzip or none',
    );
  }
  checkCertificates(env);
}

function checkCertificates(env: Environment): void {
  const certificate = variableOf('CLIENT_CERTIFICATE', env);
  const key = variableOf('CLIENT_KEY', env);
  for (const file of [variableOf('CERTIFICATE', env), certificate, key]) {
    if (!file) continue;
    try {
      accessSync(file.value, constants.R_OK);
    } catch (error) {
      throw wrong(
        'otlp-certificate',
        `${file.name} names a file that cannot be read: ${file.value}`,
        'give the path of a PEM file',
        error,
      );
    }
  }
  const alone = certificate && !key ? certificate : key && !certificate ? key : null;
  if (alone) {
    throw wrong(
      'otlp-certificate',
      `${alone.name} is set, but not its counterpart`,
      'a client certificate and its key go together',
    );
  }
}

function checkEndpoint(endpoint: string, protocol: OtlpProtocol, name: string | null): void {
  const text = endpoint.trim();
  // gRPC takes HOST:PORT too, which means TLS.
  const bare = protocol === 'grpc' && !/^\w{1,8}:\/\//.test(text);
  const url = bare ? `https://${text}` : text;
  const schemes = protocol === 'grpc' ? /^(https?|unix):/i : /^https?:/i;
  if (schemes.test(url) && URL.canParse(url)) return;
  throw wrong(
    'otlp-endpoint',
    `${name === null ? 'not an OTLP endpoint' : `${name} is no OTLP endpoint`}: ${endpoint}`,
    'write it as http://HOST:PORT or https://HOST:PORT',
  );
}

/** The one for traces goes before the one for all signals; blank is as good as unset. */
function variableOf(name: string, env: Environment): Variable | null {
  for (const full of [`OTEL_EXPORTER_OTLP_TRACES_${name}`, `OTEL_EXPORTER_OTLP_${name}`]) {
    const value = env[full]?.trim();
    if (value) return { name: full, value };
  }
  return null;
}

function wrong(code: string, message: string, hint: string, cause?: unknown): UnderspanError {
  return new UnderspanError('usage', code, message, hint, { cause });
}
