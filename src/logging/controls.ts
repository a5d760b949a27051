/** A line stays one line, and what is shown cannot steer a terminal. */
export const escapeControls = (text: string) =>
  text.replace(/\p{Cc}/gu, (control) => {
    if (control === '\n') return '\\n';
    return `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
