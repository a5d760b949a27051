const secretName =
  /pass(?:word|wd|phrase)?$|pwd$|secret|tokens?$|credentials?$|api[-_]?keys?$|private[-_]?key$|^authorization$/i;

/** Whether what stands under this name is a secret: it is not shown. */
export const isSecretName = (name: string): boolean => secretName.test(name);

const credentials = /(?<=\b[a-z][a-z\d+.-]*:\/\/)[^\s/@]+(?=@)/gi;
const privateKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*/g;

/** The parts of a text that are secret wherever it stands: a URL's user and password, a private key. */
export function secretParts(text: string): [start: number, end: number][] {
  return [...text.matchAll(credentials), ...text.matchAll(privateKey)].map((match) => [
    match.index,
    match.index + match[0].length,
  ]);
}
