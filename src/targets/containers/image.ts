const ID = /^(?:sha256:)?[0-9a-f]{64}$/;

/** How an image was asked for; null where that is its id, which is no name. */
export const imageName = (text: string | null): string | null =>
  text === null || ID.test(text) ? null : text;

/** "registry:5000/shop:1.2@sha256:…": the name ends where tag and digest begin. */
export function splitImage(image: string): { name: string; tag: string | null } {
  const [tagged = ''] = image.split('@', 1);
  // A colon before the last slash is of the registry's port.
  const colon = tagged.indexOf(':', tagged.lastIndexOf('/') + 1);
  return colon < 0
    ? { name: tagged, tag: null }
    : { name: tagged.slice(0, colon), tag: tagged.slice(colon + 1) || null };
}
