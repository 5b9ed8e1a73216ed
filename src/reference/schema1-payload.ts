/**
 * What the digest of a signed schema 1 manifest is made of: distribution manifest-v2-1.md, "Signed Manifests".
 *
 *   { "schemaVersion": 1, ..., "history": [...],   "signatures": [{"protected": ...}] }
 *   |------------- formatLength bytes ----------|  + formatTail (usually "\n}")  =  the payload
 *
 * The payload is the manifest as it was before it was signed; digests name it, and nothing outside of it is read.
 * Signatures are not verified: they were made with keys that nobody pins, and Docker ignores them since 1.10.
 */
import { PeelError } from '../errors.ts';
import type { Digest } from '../units.ts';
import { algorithmOf, digestOf } from './digest.ts';
import { JsonFields } from './json-fields.ts';
import { parseJson } from './parse-json.ts';

/** As many as `docker trust` ever made, with room. */
const MAX_SIGNATURES = 16;

/**
 * The payload of a document whose `signatures` are `fields.value('signatures')`.
 * @throws PeelError ERR_DOCUMENT_INVALID where signatures are malformed or disagree about it (E153).
 */
export function payloadOf(bytes: Uint8Array, fields: JsonFields): Buffer {
  const signatures = fields.array('signatures');
  if (signatures.length === 0 || signatures.length > MAX_SIGNATURES) {
    throw fields.invalid('signatures', `has ${signatures.length} elements, expected 1 to ${MAX_SIGNATURES}`);
  }
  let payload: Buffer | undefined;
  for (const [at, signature] of signatures.entries()) {
    const where = `${fields.where}, signatures[${at}]`;
    const text = new JsonFields(signature, where, ['protected']).requiredText('protected');
    const header = new JsonFields(parseJson(fromBase64(text, where), where), where, [
      'formatLength',
      'formatTail',
    ]);
    const length = header.size('formatLength');
    if (length > bytes.length) {
      throw header.invalid('formatLength', `is ${length}, the document has ${bytes.length} bytes`);
    }
    const tail = fromBase64(header.requiredText('formatTail'), where);
    const signed = Buffer.concat([bytes.subarray(0, length), tail]);
    if (payload !== undefined && !payload.equals(signed)) {
      throw fields.invalid('signatures', 'are of different payloads');
    }
    payload = signed;
  }
  return payload as Buffer; // at least one signature
}

/** What a registry calls the document: the digest of its payload where it is signed, else of its bytes. */
export function documentDigest(bytes: Buffer, algorithm: 'sha256' | 'sha512' = 'sha256'): Digest {
  return digestOf(signedPayload(bytes) ?? bytes, algorithm);
}

/** Whether `digest` names the document, as its bytes or as its payload. */
export function isNamedBy(bytes: Buffer, digest: Digest): boolean {
  const algorithm = algorithmOf(digest);
  return digestOf(bytes, algorithm) === digest || documentDigest(bytes, algorithm) === digest;
}

/** undefined for whatever is no signed schema 1 manifest; what is wrong with it, its parser says. */
function signedPayload(bytes: Buffer): Buffer | undefined {
  if (!bytes.includes('"signatures"')) return undefined;
  try {
    const fields = new JsonFields(parseJson(bytes, 'manifest'), 'manifest', ['signatures', 'schemaVersion']);
    return fields.has('signatures') && fields.value('schemaVersion') === 1
      ? payloadOf(bytes, fields)
      : undefined;
  } catch (error) {
    if (error instanceof PeelError) return undefined;
    throw error;
  }
}

/** base64url without padding, as JWS writes it: what Buffer would silently skip is refused. */
function fromBase64(text: string, where: string): Buffer {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') === text.replace(/={0,2}$/, '')) return bytes;
  throw new PeelError('ERR_DOCUMENT_INVALID', `${where} is not base64url`);
}
