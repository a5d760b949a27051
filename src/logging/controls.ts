const escaped = (character: string) =>
  character === '\n' ? '\\n' : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** A line stays one line, and what is shown can neither steer a terminal nor be read in another order. */
export const escapeControls = (text: string) => text.replace(/[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu, escaped);

/** The same for what JSON leaves in a text: C1, line separators, what reorders. Colours and newlines stay. */
export const escapeUnescaped = (text: string) =>
  text.replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escaped);
