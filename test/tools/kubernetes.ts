/**
 * Kubernetes manifests without a cluster: built by kustomize, and checked against the schemas that
 * API servers and operators publish. What is needed comes as Go modules, pinned by version and sum.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Ajv, type ValidateFunction } from 'ajv';
import { parseAllDocuments } from 'yaml';
import { goCommand, projectRoot } from './go.js';

const run = promisify(execFile);

const KUSTOMIZE = 'sigs.k8s.io/kustomize/kustomize/v5@v5.7.1';

/** Go modules that carry schemas, and where in them. */
const BUILTIN = {
  module: 'sigs.k8s.io/kubectl-validate@v0.0.4',
  sum: 'h1:tGKuv0awYHn11Cb6KPsZKxUmHgavF46K3NvVH0Nse9U=',
  folder: 'pkg/openapiclient/builtins/1.30',
};
const CUSTOM: Record<string, { module: string; sum: string; file: string }> = {
  PodMonitor: {
    module: 'github.com/prometheus-operator/prometheus-operator@v0.84.0',
    sum: 'h1:XXm7lKizTnnxeSwI01wjNAapKzw/4XAPdpcZqjRKgRU=',
    file: 'example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml',
  },
  ScaledObject: {
    module: 'github.com/kedacore/keda/v2@v2.17.2',
    sum: 'h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk=',
    file: 'config/crd/bases/keda.sh_scaledobjects.yaml',
  },
  AnalysisTemplate: {
    module: 'github.com/argoproj/argo-rollouts@v1.8.3',
    sum: 'h1:blbtQva4IK9r6gFh+dWkCrLnFdPOWiv9ubQYu36qeaA=',
    file: 'manifests/crds/analysis-template-crd.yaml',
  },
};

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  [field: string]: unknown;
}

/** Every document of a file; throws where it is no YAML. */
export async function readManifests(path: string): Promise<Manifest[]> {
  return parse(await readFile(path, 'utf8'));
}

/** What `kubectl apply -k FOLDER` would send. */
export async function kustomize(folder: string): Promise<Manifest[]> {
  const bin = join(projectRoot, '.cache/kubernetes', KUSTOMIZE.replace(/.*@/, 'kustomize-'));
  const binary = join(bin, 'kustomize');
  if (!existsSync(binary)) await go(['install', KUSTOMIZE], { GOBIN: bin });
  const { stdout } = await run(binary, ['build', folder], { maxBuffer: 1 << 24 });
  return parse(stdout);
}

function parse(text: string): Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true, strict: true }).map((document) => {
    const [error] = document.errors;
    if (error) throw error;
    return document.toJS() as Manifest;
  });
}

/** Checks objects as strictly as an API server: no unknown field, no wrong type, none missing. */
export class Schemas {
  private readonly validators = new Map<string, Promise<ValidateFunction>>();

  /** What is wrong with an object, with the path to it. Empty: nothing. */
  async problems(manifest: Manifest): Promise<string[]> {
    const { apiVersion, kind, metadata } = manifest;
    const key = `${apiVersion} ${kind}`;
    let validator = this.validators.get(key);
    if (!validator) {
      validator = kind in CUSTOM ? custom(apiVersion, kind) : builtin(apiVersion, kind);
      this.validators.set(key, validator);
    }
    const validate = await validator;
    if (validate(manifest)) return [];
    return (validate.errors ?? []).map(
      ({ instancePath, message, params }) =>
        `${kind} ${metadata.name}${instancePath}: ${message} ${JSON.stringify(params)}`,
    );
  }
}

type Schema = Record<string, unknown>;

async function builtin(apiVersion: string, kind: string): Promise<ValidateFunction> {
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const folder = join(await moduleFolder(BUILTIN), BUILTIN.folder);
  const file = join(folder, group === '' ? 'api' : `apis/${group}`, `${version}.json`);
  const document = JSON.parse(await readFile(file, 'utf8')) as {
    components: { schemas: Record<string, Schema> };
  };
  const { schemas } = document.components;
  const name = Object.keys(schemas).find((each) =>
    ((schemas[each]?.['x-kubernetes-group-version-kind'] ?? []) as Record<string, string>[]).some(
      (known) => known['group'] === group && known['version'] === version && known['kind'] === kind,
    ),
  );
  if (name === undefined) throw new Error(`Kubernetes knows no ${apiVersion} ${kind}`);
  close(document);
  const ajv = lenient();
  ajv.addSchema(document, 'document');
  return ajv.compile({ $ref: `document#/components/schemas/${name}` });
}

async function custom(apiVersion: string, kind: string): Promise<ValidateFunction> {
  const definition = CUSTOM[kind];
  if (!definition) throw new Error(`no definition of ${kind}`);
  const [crd] = await readManifests(join(await moduleFolder(definition), definition.file));
  const spec = crd?.['spec'] as {
    group: string;
    versions: { name: string; schema: { openAPIV3Schema: Schema } }[];
  };
  const found = spec.versions.find(({ name }) => `${spec.group}/${name}` === apiVersion);
  if (!found) throw new Error(`there is no ${kind} in ${apiVersion}`);
  const schema = found.schema.openAPIV3Schema;
  close(schema);
  return lenient().compile(schema);
}

/** OpenAPI has words that JSON Schema lacks, and formats that are types of Go. */
function lenient(): Ajv {
  return new Ajv({ strict: false, validateFormats: false, allErrors: true });
}

/** Fields that a schema does not name are refused, as by an API server that validates strictly. */
function close(node: unknown): void {
  if (typeof node !== 'object' || node === null) return;
  const schema = node as Schema;
  if (
    typeof schema['properties'] === 'object' &&
    schema['type'] === 'object' &&
    schema['additionalProperties'] === undefined &&
    schema['x-kubernetes-preserve-unknown-fields'] !== true
  ) {
    schema['additionalProperties'] = false;
  }
  for (const value of Object.values(schema)) close(value);
}

async function moduleFolder({ module, sum }: { module: string; sum: string }): Promise<string> {
  const { stdout } = await go(['mod', 'download', '-json', module], {});
  const found = JSON.parse(stdout) as { Dir: string; Sum: string };
  if (found.Sum !== sum) throw new Error(`${module} is ${found.Sum}, and not ${sum}`);
  return found.Dir;
}

/** In a folder without a go.mod, so that versions are those that are asked for. */
async function go(args: string[], env: Record<string, string>): Promise<{ stdout: string }> {
  const cwd = join(projectRoot, '.cache/kubernetes');
  await mkdir(cwd, { recursive: true });
  return run(goCommand(), args, {
    cwd,
    env: { ...process.env, GOFLAGS: '', GOTOOLCHAIN: 'local', ...env },
    maxBuffer: 1 << 24,
  });
}
