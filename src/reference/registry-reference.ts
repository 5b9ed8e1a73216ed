/**
 * References to images in registries, in Docker's grammar and with Docker's defaults:
 *
 *   alpine                          docker.io / library/alpine : latest
 *   quay.io/a/b:1                   quay.io   / a/b            : 1
 *   localhost:5000/x@sha256:...     localhost:5000 / x         @ sha256:...
 *   [::1]:5000/x                    [::1]:5000 / x             : latest
 *
 * The first component is a registry when it has a dot or a colon, is `localhost`, or has an upper-case
 * letter (which a repository cannot have). Source: distribution/reference, "Grammar" and normalize.go.
 */
import { isIPv6 } from 'node:net';
import { isPeelError, PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';
import { excerpt, parseDigest } from './digest.ts';

export interface RegistryReference {
  /** `host[:port]`, as the user wrote it; `docker.io` for Docker Hub. */
  readonly registry: string;
  readonly repository: string;
  /** `latest` where neither a tag nor a digest was given. */
  readonly tag?: string;
  /** Decides over the tag where both are there. */
  readonly digest?: Digest;
}

const DEFAULT_REGISTRY = 'docker.io';
const DEFAULT_NAMESPACE = 'library';
const DEFAULT_TAG = 'latest';

/** distribution/reference: NameTotalLengthMax, counted over the whole name, registry included. */
const LONGEST_NAME = 255;
const LONGEST_TEXT = 1024;

const HOST = /^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*$/;
const PATH_COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$/;

/** @throws PeelError ERR_USAGE saying which part does not fit. */
export function parseRegistryReference(text: string): RegistryReference {
  const refuse = (why: string): PeelError =>
    new PeelError('ERR_USAGE', `${excerpt(text)} is not an image reference: ${why}`);
  if (text === '') throw refuse('it is empty');
  if (text.length > LONGEST_TEXT) throw refuse(`it is longer than ${LONGEST_TEXT} characters`);
  if (text.includes('://')) throw refuse('a reference has no scheme; the only one understood is docker://');
  if (/^[0-9a-f]{64}$/.test(text)) {
    throw refuse('64 hex digits are an image ID, which no registry can look up; write REPOSITORY@sha256:…');
  }

  const at = text.indexOf('@');
  const named = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : parseReferenceDigest(text.slice(at + 1), refuse);

  // A colon after the last slash begins a tag; one before it belongs to the port.
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const bracketed = named.startsWith('[') && !named.includes('/');
  if (bracketed) throw refuse('a registry must be followed by /REPOSITORY');
  const name = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (tag !== undefined && !TAG.test(tag)) {
    throw refuse(
      `the tag ${excerpt(tag)} is not 1 to 128 letters, digits, _ . or -, beginning with neither . nor -`,
    );
  }

  const { registry, repository } = splitName(name, refuse);
  if (registry.length + 1 + repository.length > LONGEST_NAME) {
    throw refuse(`the name is longer than ${LONGEST_NAME} characters`);
  }
  return {
    registry,
    repository,
    ...(tag === undefined ? (digest === undefined ? { tag: DEFAULT_TAG } : {}) : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The whole reference: `docker.io/library/alpine:latest`. Parsing it again gives an equal value. */
export function formatReference(reference: RegistryReference): string {
  return `${reference.registry}/${reference.repository}${suffixOf(reference)}`;
}

/** The reference as Docker shows it: `alpine:latest`. Parsing it again gives an equal value. */
export function familiarName(reference: RegistryReference): string {
  const { registry, repository } = reference;
  if (registry !== DEFAULT_REGISTRY) return formatReference(reference);
  const prefix = `${DEFAULT_NAMESPACE}/`;
  const short = repository.startsWith(prefix) ? repository.slice(prefix.length) : repository;
  if (!short.includes('/')) return `${short}${suffixOf(reference)}`;
  // A first component that would read as a registry needs the real one before it.
  return looksLikeRegistry(repository.slice(0, repository.indexOf('/')))
    ? formatReference(reference)
    : `${repository}${suffixOf(reference)}`;
}

function looksLikeRegistry(component: string): boolean {
  return /[.:[]/.test(component) || component === 'localhost' || component !== component.toLowerCase();
}

function suffixOf({ tag, digest }: RegistryReference): string {
  return `${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

function parseReferenceDigest(text: string, refuse: (why: string) => PeelError): Digest {
  try {
    return parseDigest(text);
  } catch (error) {
    // Of a command line, not of a document: only what is merely unsupported keeps its code.
    if (isPeelError(error, 'ERR_DOCUMENT_INVALID')) throw refuse(error.message);
    throw error;
  }
}

function splitName(
  name: string,
  refuse: (why: string) => PeelError,
): { readonly registry: string; readonly repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isRegistry = looksLikeRegistry(first);
  const written = isRegistry ? first : DEFAULT_REGISTRY;
  // Docker Hub's older name; they are one registry, and one in credential stores.
  const registry = written === 'index.docker.io' ? DEFAULT_REGISTRY : written;
  if (isRegistry) validateRegistry(first, refuse);

  const path = isRegistry ? name.slice(slash + 1) : name;
  for (const component of path.split('/')) {
    if (PATH_COMPONENT.test(component)) continue;
    if (component === '') throw refuse('a part of the name is empty');
    if (/[A-Z]/.test(component)) throw refuse(`the repository ${excerpt(path)} must be lower case`);
    throw refuse(`${excerpt(component)} may hold a-z and 0-9, and . _ __ or - between them`);
  }
  const official = registry === DEFAULT_REGISTRY && !path.includes('/');
  return { registry, repository: official ? `${DEFAULT_NAMESPACE}/${path}` : path };
}

function validateRegistry(text: string, refuse: (why: string) => PeelError): void {
  const match = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(text);
  const host = match?.[1] ?? '';
  const port = match?.[2];
  const isAddress = host.startsWith('[') && isIPv6(host.slice(1, -1)) && !host.includes('%');
  if (!isAddress && !HOST.test(host)) throw refuse(`${excerpt(host)} is not a host name`);
  if (port !== undefined && (!/^[0-9]{1,5}$/.test(port) || Number(port) > 65_535 || Number(port) === 0)) {
    throw refuse(`${excerpt(port)} is not a port`);
  }
}
